"""Values relative to a baseline: the experiment that is equal except for some parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dlbs.errors import LogError, did_you_mean
from dlbs.results.grouping import groups, hashable
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.cells import cells_of
from dlbs.results.tables.table import Cell
from dlbs.text import text, truth

__all__ = ["Baseline"]

_MOST_NAMED = 10


class Baseline:
    """Baseline experiments with given values of some parameters, by which otherwise equal experiments are divided.

    Args:
        values: Parameters and their values, which may be texts of numbers and booleans.
        records: All drawn experiments.

    Raises:
        LogError: No experiment has these values.
    """

    def __init__(self, values: Mapping[str, Any], records: Sequence[Record]) -> None:
        self.values = {name: text(value) for name, value in values.items()}
        self._partners: dict[tuple[Any, ...], list[Record]] = {}
        self._names: list[str] = []
        self._records = [record for record in records if self.has(record)]
        if self._records:
            return
        for name, value in self.values.items():
            there = list(dict.fromkeys(text(record[name]) for record in records if record.get(name) is not None))
            if value not in there:
                others = f"; it is {', '.join(there[:_MOST_NAMED])}{' …' if len(there) > _MOST_NAMED else ''}"
                hint = did_you_mean(value, there) or "choose a value that some experiments have"
                raise LogError(
                    f"{name} is {value!r} in no successful experiment{others}", where="--baseline", hint=hint
                )
        raise LogError(
            f"no successful experiment has {self}", where="--baseline", hint="choose values that occur together"
        )

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.values.items())

    def has(self, record: Record) -> bool:
        """Whether an experiment belongs to the baseline."""
        return all(_is(record.get(name), value) for name, value in self.values.items())

    def match_by(self, names: Sequence[str]) -> None:
        """Match experiments with the baseline by these parameters, except those of the baseline itself."""
        self._names = [name for name in dict.fromkeys(names) if name not in self.values]
        self._partners = groups(self._records, self._names)

    def divided(self, cell: Cell, record: Record, key: str) -> Cell | None:
        """Divide the value of a group of runs by that of the baseline; None if the baseline has no value, it is 0, or the quotient is too large.

        The interval is from the lower bound over the baseline's upper one to the upper bound over the baseline's lower one. The probability that
        either interval misses is at most the sum of their probabilities (Bonferroni).

        Args:
            cell: The value of the runs.
            record: One of the runs.
            key: Key of the quantity.
        """
        if self.has(record):
            return Cell(1.0, runs=cell.runs)
        partners = self._partners.get(tuple(hashable(record.get(name)) for name in self._names), [])
        base = cells_of(key)([one for one in partners if number(one, key) is not None])
        if not isinstance(base.value, float) or not isinstance(cell.value, float) or base.value == 0:
            return None
        if not math.isfinite(cell.value / base.value):
            return None
        low = high = confidence = None
        bounds = (cell.low, cell.high, base.low, base.high)
        if None not in bounds and min(bound or 0.0 for bound in bounds) > 0:
            low, high = (cell.low or 0.0) / (base.high or 1.0), (cell.high or 0.0) / (base.low or 1.0)
            confidence = max(0.0, (cell.confidence or 0.0) + (base.confidence or 0.0) - 1)
        doubtful = cell.doubtful + base.doubtful
        return Cell(cell.value / base.value, "ok", low, high, confidence, min(cell.runs, base.runs), doubtful=doubtful)


def _is(value: Any, words: str) -> bool:
    """Whether a value equals a given text; booleans have several spellings."""
    if isinstance(value, bool):
        return truth(words) == value
    return value is not None and text(value) == words
