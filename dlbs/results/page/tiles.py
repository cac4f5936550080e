"""The tiles at the top of the page: counts, models, devices, software, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.text import duration, text

__all__ = ["tiles_of"]


def tiles_of(records: Sequence[Record], counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Name and value of each tile.

    Args:
        records: The experiments.
        counts: How many experiments there are of each status.
    """

    def distinct(name: str) -> str:
        found = dict.fromkeys(text(record[name]) for record in records if record.get(name) not in (None, ""))
        shown = ", ".join(list(found)[:3])
        return shown + (f" and {len(found) - 3} more" if len(found) > 3 else "")

    starts = sorted(text(record["exp.start_time"]) for record in records if record.get("exp.start_time"))
    seconds = sum(number(record, "exp.seconds") or 0.0 for record in records)
    versions = dict.fromkeys(
        f"{text(record.get('exp.framework_title') or record.get('exp.framework'))} {text(record['exp.framework_version'])}"
        for record in records
        if record.get("exp.framework_version")
    )
    tiles = [
        ("experiments", str(len(records))),
        *((status, str(count)) for status, count in counts.items()),
        ("models", str(len({text(record["exp.model"]) for record in records if record.get("exp.model")}) or "")),
        ("devices", distinct("exp.device_title")),
        ("software", ", ".join(list(versions)[:3])),
        ("first, last", _from_to(starts[0], starts[-1]) if starts else ""),
        ("time", duration(seconds) if seconds else ""),
    ]
    return [(name, value) for name, value in tiles if value]


def _from_to(first: str, last: str) -> str:
    """`2026-11-21 10:01 – 10:03`."""
    first, last = first[:16].replace("T", " "), last[:16].replace("T", " ")
    if first == last:
        return first
    return f"{first} – {last[11:] if first[:10] == last[:10] else last}"
