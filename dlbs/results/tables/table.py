"""Table of results: labels, cells, and the notes below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from benchmark_core.text import short_number

USUAL = 0.95  # confidence level of intervals, unless another one is shown


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        value: A number (an integer is a count), a text for values that are not numbers, or None; then `status` is the reason.
        status: `ok`, or the status of the experiments in the cell, `missing` or `no-result`.
        low: Lower bound of the confidence interval of a median, if it has one.
        high: Upper bound.
        confidence: Confidence level of that interval, 0 to 1.
        runs: Number of experiments with a value.
        lost: Number of experiments without a value.
        doubtful: Number of runs with a value that logged warnings about their numbers.
        tone: `good`, `bad`, `doubt` or empty: the colour of the cell in a terminal.
    """

    value: float | int | str | None
    status: str = "ok"
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    runs: int = 0
    lost: int = 0
    doubtful: int = 0
    tone: str = ""

    def scaled(self, factor: float) -> Cell:
        """Convert the cell to another unit; texts and statuses are unchanged."""
        if not isinstance(self.value, float):
            return self
        low, high = (bound if bound is None else bound * factor for bound in (self.low, self.high))
        return replace(self, value=self.value * factor, low=low, high=high)

    def words(self, usual: float = USUAL) -> str:
        """Format the cell for humans: `400.0 [395.2, 402.1]`, `400.0 ⚠`, `11.00 [10.00, 30.00 at 75 %]`, `failure`.

        Args:
            usual: Confidence level that need not be shown.
        """
        if self.value is None:
            return MISSING if self.status == "missing" else self.status
        if isinstance(self.value, str):
            return self.value
        words = f"{self.value:,}" if isinstance(self.value, int) else short_number(self.value)
        if self.low is not None and self.high is not None:
            level = "" if self.confidence is None or self.confidence >= usual else f" at {100 * self.confidence:.0f} %"
            words += f" [{short_number(self.low)}, {short_number(self.high)}{level}]"
        return words + ("*" if self.lost else "") + (f" {DOUBTFUL}" if self.doubtful else "")


MISSING = "-"
DOUBTFUL = "⚠"

# Statuses that need an explanation; failed and skipped experiments have reasons.
_LEGEND = {
    "missing": "not in the plan, or without a log",
    "timeout": "the experiment exceeded exp.timeout",
    "cancelled": "the run was stopped",
    "unfinished": "still running or interrupted",
    "no-result": "the experiment succeeded, but did not log this value",
    "no-base": "no baseline value to compare with",
}


@dataclass(slots=True)
class Table:
    """A table.

    Attributes:
        title: Quantity in the cells with its unit, and the common parameters of the experiments.
        names: Names of the row labels.
        rows: The labels of each row.
        columns: The label of each column.
        cells: A list of cells for each row.
        findings: Results in sentences; the first notes.
        legend: Explanations of marks.
        formulas: Formulas of numbers, and other notes on single rows.
        answers: Most important columns: always shown, and the last one is never folded.
        is_divisible: Columns are independent: if the table is too wide, it may be divided into tables one below the other.
    """

    title: str
    names: list[str]
    rows: list[list[str]]
    columns: list[str]
    cells: list[list[Cell]]
    legend: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)
    is_divisible: bool = False
    findings: list[str] = field(default_factory=list)
    answers: tuple[str, ...] = ()

    @property
    def header(self) -> list[str]:
        """Labels of all columns, including those of row labels."""
        return [*self.names, *self.columns]

    @property
    def notes(self) -> list[str]:
        """All notes below the table."""
        return [*self.findings, *self.legend, *self.formulas]

    def texts(self) -> list[list[str]]:
        """Rows of labels and formatted cells."""
        return [
            [*labels, *(cell.words(self.level) for cell in cells)]
            for labels, cells in zip(self.rows, self.cells, strict=True)
        ]

    @property
    def level(self) -> float:
        """Confidence level of the intervals in cells that show none."""
        return common_level([cell for row in self.cells for cell in row])

    def add_legend(self) -> None:
        """Add explanations of the marks in the cells to the legend."""
        cells = [cell for row in self.cells for cell in row]
        seen = {cell.status for cell in cells if cell.value is None}
        for status, meaning in _LEGEND.items():
            if status in seen:
                self.legend.append(f"{MISSING if status == 'missing' else status}: {meaning}")
        if any(cell.value is not None and cell.lost for cell in cells):
            self.legend.append("*: some runs of this cell have no value")


def common_level(cells: Iterable[Cell]) -> float:
    """The confidence level of all intervals in cells, or the usual one."""
    levels = {cell.confidence for cell in cells if cell.runs and cell.low is not None and cell.confidence is not None}
    return min(USUAL, levels.pop()) if len(levels) == 1 else USUAL
