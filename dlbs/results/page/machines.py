"""Machines on the page, with the facts that are the same in all their experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbs.results.grouping import groups
from dlbs.results.read.onelog import Record
from dlbs.results.statistics.facts import is_fact
from dlbs.text import text

__all__ = ["machines_of"]


def machines_of(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Facts about each machine that are the same in all its experiments."""
    machines = []
    for found in groups(records, ["exp.env.host", "exp.device_title"]).values():
        facts: dict[str, str] = {}
        for name in sorted(set().union(*found)):
            if is_fact(name):
                values = {text(record[name]) for record in found if name in record}
                facts[name] = values.pop() if len(values) == 1 else f"{len(values)} different values"
        if facts:
            host, device = (text(found[0].get(name)) for name in ("exp.env.host", "exp.device_title"))
            name = ", ".join(filter(None, [host, device])) or "unknown"
            machines.append({"name": name, "count": len(found), "facts": list(facts.items())})
    return machines
