"""Tiles at the top of the page: number of experiments, statuses, doubtful ones, dates, duration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dlbs.doubts import warnings_of
from dlbs.logs import STATUSES
from dlbs.results.page.failures import BAD
from dlbs.results.read.moments import order_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.text import duration, text

__all__ = ["tiles_of"]


def tiles_of(records: Sequence[Record]) -> list[tuple[str, str, bool]]:
    """Name and value of each tile, and whether it is a problem."""
    counts = Counter(map(status_of, records))
    doubtful = sum(status_of(record) == "ok" and bool(warnings_of(record)) for record in records)
    starts = sorted((text(one["exp.start_time"]) for one in records if one.get("exp.start_time")), key=order_of)
    seconds = sum(number(record, "exp.seconds") or 0.0 for record in records)
    models = {text(record["exp.model"]) for record in records if record.get("exp.model")}
    tiles = [
        ("experiments", f"{len(records):,}", False),
        *((name, f"{counts[name]:,}", name in BAD) for name in (*STATUSES, "unfinished") if counts[name]),
        ("doubtful", f"{doubtful:,}" if doubtful else "", True),
        ("models", f"{len(models):,}" if models else "", False),
        ("first, last", _from_to(starts[0], starts[-1]) if starts else "", False),
        ("time", duration(seconds) if seconds else "", False),
    ]
    return [tile for tile in tiles if tile[1]]


def _from_to(first: str, last: str) -> str:
    """`2026-11-21 10:01 – 10:03`."""
    first, last = first[:16].replace("T", " "), last[:16].replace("T", " ")
    if first == last:
        return first
    return f"{first} – {last[11:] if first[:10] == last[:10] else last}"
