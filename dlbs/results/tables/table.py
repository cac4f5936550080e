"""A table of results: labels, cells, and the notes below it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dlbs.text import short_number

__all__ = ["DOUBTFUL", "MISSING", "USUAL", "Cell", "Table"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        value: A number (a whole one is a count), a text where the values are no numbers, or None; then `status` says why.
        status: `ok`, or the status of the experiments in the cell, `missing` or `no-result`.
        low: Lower bound of the confidence interval of a median, if it has one.
        high: Upper bound.
        confidence: Of that interval, 0 to 1.
        runs: Experiments that the value comes from.
        lost: Experiments of this cell that have no value.
        doubtful: Of those runs, how many logged warnings about their numbers.
        tone: `good`, `bad`, `doubt` or empty; a terminal colours the cell by it.
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
        """The same in another unit; texts and statuses stay."""
        if not isinstance(self.value, float):
            return self
        low, high = (bound if bound is None else bound * factor for bound in (self.low, self.high))
        return replace(self, value=self.value * factor, low=low, high=high)

    def words(self) -> str:
        """The cell as people read it: `400.0 [395.2, 402.1]`, `400.0 ⚠`, `11.00 [10.00, 30.00 at 75 %]`, `failure`."""
        if self.value is None:
            return MISSING if self.status == "missing" else self.status
        if isinstance(self.value, str):
            return self.value
        words = f"{self.value:,}" if isinstance(self.value, int) else short_number(self.value)
        if self.low is not None and self.high is not None:
            level = "" if self.confidence is None or self.confidence >= USUAL else f" at {100 * self.confidence:.0f} %"
            words += f" [{short_number(self.low)}, {short_number(self.high)}{level}]"
        return words + ("*" if self.lost else "") + (f" {DOUBTFUL}" if self.doubtful else "")


MISSING = "-"
DOUBTFUL = "⚠"
USUAL = 0.95  # confidence of intervals that do not say another one

# Of statuses that need an explanation; why experiments failed or were skipped is said by their reasons.
_LEGEND = {
    "missing": "not in the plan, or no log",
    "timeout": "the experiment was ended by exp.timeout",
    "cancelled": "the run was stopped",
    "unfinished": "still running, or interrupted",
    "no-result": "the experiment ended well, but logged no such value",
    "no-base": "there is no value to compare with",
}


@dataclass(slots=True)
class Table:
    """A table.

    Attributes:
        title: What is in the cells, with the unit, and what the experiments have in common.
        names: What the row labels are.
        rows: The labels of each row.
        columns: The label of each column.
        cells: A list of cells for each row.
        findings: What came out, in sentences; the first of all notes.
        legend: What marks mean.
        formulas: How numbers were computed, and other notes about single rows.
        answers: Columns that are the answer: always shown, the last of them never folded.
        is_divisible: Each column stands for itself: where there is no room for all, they may be shown one below the other.
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
        """The labels of all columns, those of the row labels included."""
        return [*self.names, *self.columns]

    @property
    def notes(self) -> list[str]:
        """All lines below the table."""
        return [*self.findings, *self.legend, *self.formulas]

    def texts(self) -> list[list[str]]:
        """Rows of texts: labels and cells."""
        return [
            [*labels, *(cell.words() for cell in cells)] for labels, cells in zip(self.rows, self.cells, strict=True)
        ]

    def add_legend(self) -> None:
        """Say what the marks in the cells mean."""
        cells = [cell for row in self.cells for cell in row]
        seen = {cell.status for cell in cells if cell.value is None}
        for status, meaning in _LEGEND.items():
            if status in seen:
                self.legend.append(f"{MISSING if status == 'missing' else status}: {meaning}")
        if any(cell.value is not None and cell.lost for cell in cells):
            self.legend.append("*: some runs of this cell have no value")
