"""Overview of measurements: a row for each machine, device and software, with numbers of successful, failed and doubtful experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbs.doubts import warnings_of
from dlbs.experiment import TITLES
from dlbs.results.grouping import groups
from dlbs.results.page.failures import BAD
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.text import counted, duration, text

__all__ = ["where_measured"]

_MOST_ROWS, _MOST_NAMED = 50, 3
_NAMES = ("exp.env.host", "exp.device_title", "exp.framework", "exp.framework_version")


def where_measured(records: Sequence[Record]) -> dict[str, Any]:
    """Rows of host, device, software, workload, experiments, succeeded, doubtful, failed, time; and the number of further rows.

    Experiments that failed before they detected their machine or device have a separate row.
    """
    found = sorted(groups(records, _NAMES).values(), key=lambda group: -len(group))
    return {"rows": [_row(group) for group in found[:_MOST_ROWS]], "more": max(0, len(found) - _MOST_ROWS)}


def _row(group: Sequence[Record]) -> dict[str, Any]:
    first = group[0]
    statuses = [status_of(record) for record in group]
    framework = text(first.get("exp.framework_title") or first.get("exp.framework"))
    seconds = sum(number(record, "exp.seconds") or 0.0 for record in group)
    return {
        "host": text(first.get("exp.env.host")) or "unknown",
        "device": text(first.get("exp.device_title")) or text(first.get("exp.device_type")) or "unknown",
        "software": " ".join(filter(None, [framework, text(first.get("exp.framework_version"))])) or "unknown",
        "what": _what(group),
        "count": len(group),
        "ok": statuses.count("ok"),
        "doubtful": sum(
            status == "ok" and bool(warnings_of(record)) for record, status in zip(group, statuses, strict=True)
        ),
        "failed": sum(status in BAD for status in statuses),
        "time": duration(seconds) if seconds else "–",
    }


def _what(group: Sequence[Record]) -> str:
    """Models by name, or their number; then phases."""
    names = dict.fromkeys(
        next((text(record[name]) for name in TITLES[:2] if record.get(name) not in (None, "")), "") for record in group
    )
    titles = [name for name in names if name]
    words = ", ".join(titles) if len(titles) <= _MOST_NAMED else counted(len(titles), "model")
    phases = dict.fromkeys(text(record["exp.phase"]) for record in group if record.get("exp.phase"))
    return ", ".join(filter(None, [words, *phases])) or "–"
