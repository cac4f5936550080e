"""Show how far a plan is: a live bar in a terminal, plain lines elsewhere, a JSON file for programs.

The display is drawn by the launcher's own thread, when an experiment begins or ends and every two seconds between: a thread that
animates a bar ten times a second is a neighbour that the benchmark would feel.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dlbs.documents import write_atomically
from dlbs.executors.outcome import Outcome
from dlbs.formatting import duration, printable, short_number
from dlbs.parameters import text
from dlbs.processor import Experiment

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["Progress", "describe"]

_TICK_SECONDS = 2.0


def describe(experiment: Experiment) -> str:
    """One experiment in a few words."""
    names = ("exp.model", "exp.phase", "exp.dtype", "exp.device_type")
    words = [text(experiment[name]) for name in names if experiment.get(name)]
    if "exp.replica_batch" in experiment:
        words.append(f"batch {text(experiment['exp.replica_batch'])}")
    if experiment.get("exp.repeats", 1) != 1:
        words.append(f"repeat {text(experiment.get('exp.repeat'))}")
    return printable(" ".join(words).replace("\n", "?"))


class Progress:
    """What a user sees while a plan runs.

    Args:
        file: A JSON file to keep up to date, for other programs.
        quiet: Show nothing.
    """

    def __init__(self, *, file: str | os.PathLike[str] | None = None, quiet: bool = False) -> None:
        self.file = None if file is None else Path(file)
        self.quiet = quiet
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.current = ""
        self.tick_seconds: float | None = None
        self._ran_seconds = 0.0
        self._started_at = 0.0
        self._bar: Bar | None = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=None)
            self.tick_seconds = _TICK_SECONDS
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.current = ""
        self._write_file(finished=True)
        if self._bar is not None:
            self._bar.stop()

    def begin(self, total: int) -> None:
        """There are `total` experiments."""
        self.total = total
        self._draw()
        self._write_file()

    def skipped(self, why: str) -> None:
        """The next experiment need not run."""
        self.counts[why] += 1

    def started(self, experiment: Experiment) -> None:
        """An experiment begins."""
        self.current = describe(experiment)
        self._started_at = time.monotonic()
        self._draw()
        self._write_file()

    def tick(self) -> None:
        """Time has passed."""
        self._draw()

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        """The experiment that began last has ended."""
        self.counts[outcome.status] += 1
        self._ran_seconds += outcome.seconds
        line = f"[{self.done}/{self.total}] {describe(experiment)}: {_outcome_text(experiment, outcome)}"
        self.current = ""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)
        self._draw()
        self._write_file()

    @property
    def done(self) -> int:
        """Experiments that need no more work."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        return self.counts["failure"] + self.counts["timeout"]

    def seconds_left(self) -> float | None:
        """An estimate from the mean of the experiments that ran; None before the first ended."""
        ran = self.done - self.counts["finished"] - self.counts["inactive"] - self.counts["simulated"]
        if not ran:
            return None
        mean = self._ran_seconds / ran
        running = time.monotonic() - self._started_at if self.current else 0.0
        return max(0.0, mean * (self.total - self.done) - min(running, mean))

    def _draw(self) -> None:
        if self._bar is None:
            return
        parts = [self.current or "-"]
        if self.current:
            parts.append(duration(time.monotonic() - self._started_at))
        if self.failed:
            parts.append(f"{self.failed} failed")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"about {duration(left)} left")
        self._bar.update(self._task, completed=self.done, total=self.total, description=" | ".join(parts), refresh=True)

    def _write_file(self, finished: bool = False) -> None:
        if self.file is None:
            return
        left = self.seconds_left()
        state = {
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "left": self.total - self.done,
            "statuses": dict(self.counts),
            "current": self.current,
            "seconds_left": None if left is None else round(left, 1),
            "running": not finished,
            "pid": os.getpid(),
            "updated": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        with write_atomically(self.file) as stream:
            json.dump(state, stream, indent=1)
            stream.write("\n")


def _outcome_text(experiment: Experiment, outcome: Outcome) -> str:
    words = f"{outcome.status} in {duration(outcome.seconds)}"
    throughput = outcome.results.get("results.throughput")
    if outcome.status == "ok" and isinstance(throughput, (int, float)):
        words += f", {short_number(throughput)} {text(outcome.results.get('results.unit', 'instances'))}/s"
    if outcome.message:
        words += f": {outcome.message}"
    if outcome.status not in {"ok", "skipped"}:
        words += f" (log: {text(experiment.get('exp.log_file'))})"
    return printable(words)
