"""Batch times in the page's data: so few numbers for each run that those of ten thousand runs fit into a small file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbs.logs import are_finite
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import is_ok

__all__ = ["ALPHABET", "batch_times"]

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_STEPS = len(_PAIRS) - 1  # a number is one of 4096 between the least and the greatest of its run
_MOST_POINTS, _FEWEST, _MOST = 200_000, 20, 1000  # of all runs together, and of each


def batch_times(records: Sequence[Record]) -> list[list[Any] | None]:
    """The times of the timed batches of each run, in ms; None for a run that has none.

    Returns:
        For each run: how many batches are one point (their median), how many batches there are, the least and the greatest point, and the points as
        text: two letters of `ALPHABET` each, a number to the base of 64 that says how far from the least to the greatest it is.
    """
    found = [_times(record) for record in records]
    count = sum(times is not None for times in found)
    most = min(_MOST, max(_FEWEST, _MOST_POINTS // max(1, count)))
    return [None if times is None else _packed(times, most) for times in found]


def _times(record: Record) -> list[float] | None:
    times = record.get("results.time_data")
    if not isinstance(times, list) or len(times) < 2 or not is_ok(record):
        return None
    return times if are_finite(times) else None


def _packed(times: list[float], most: int) -> list[Any]:
    together = -(-len(times) // most)
    if together > 1:
        points = [_median(times[at : at + together]) for at in range(0, len(times), together)]
    else:
        points = times
    low, high = float(min(points)), float(max(points))
    scale = _STEPS / (high - low) if high > low else 0.0
    words = "".join([_PAIRS[int((point - low) * scale + 0.5)] for point in points])
    return [together, len(times), low, high, words]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
