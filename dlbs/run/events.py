"""One stream of events while a plan runs, for whoever watches it: the terminal, a progress file, a callback of a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from dlbs.executors.base import Outcome
from dlbs.experiment import Experiment

__all__ = ["Callback", "Event", "Observer"]


class Observer(Protocol):
    """Is told what happens while a plan runs; a context that holds for the time of the run.

    Attributes:
        tick_seconds: How often `tick` is wanted while nothing happens; None for never.
    """

    tick_seconds: float | None

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, total: int) -> None:
        """There are `total` experiments."""

    def grow(self, total: int) -> None:
        """There are more experiments, or fewer, than was known: `total`."""

    def skipped(self, why: str) -> None:
        """The next experiment need not run: it is `finished`, `inactive` or `simulated`."""

    def started(self, experiment: Experiment, log: Path) -> None:
        """An experiment begins."""

    def withdrawn(self, experiment: Experiment) -> None:
        """An experiment was called off before it began."""

    def again(self, experiment: Experiment, outcome: Outcome, attempt: int) -> None:
        """An experiment failed and will be tried again."""

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        """An experiment has come to its end."""

    def tick(self) -> None:
        """Time has passed."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to an experiment.

    Attributes:
        kind: `started`, `retried` (it failed and will be tried again) or `ended`.
        experiment: Its final parameters.
        done: Experiments of the plan that need no more work.
        total: Experiments of the plan.
        outcome: How it ended; None when it starts.
    """

    kind: str
    experiment: Experiment
    done: int
    total: int
    outcome: Outcome | None = None


class Callback:
    """An observer that calls a function with each event.

    Args:
        function: Is called in the thread that runs the plan, between two experiments: a slow one delays the next experiment.
    """

    tick_seconds: float | None = None

    def __init__(self, function: Callable[[Event], None] | None = None) -> None:
        self.function = function
        self.total = 0
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Callback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def begin(self, total: int) -> None:
        self.total = total

    def grow(self, total: int) -> None:
        self.total = total

    def skipped(self, why: str) -> None:
        self.counts[why] += 1

    def started(self, experiment: Experiment, log: Path) -> None:
        self._call("started", experiment)

    def withdrawn(self, experiment: Experiment) -> None:
        return

    def again(self, experiment: Experiment, outcome: Outcome, attempt: int) -> None:
        self._call("retried", experiment, outcome)

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        self._call("ended", experiment, outcome)

    def tick(self) -> None:
        return

    def _call(self, kind: str, experiment: Experiment, outcome: Outcome | None = None) -> None:
        if self.function is not None:
            self.function(Event(kind, experiment, self.counts.total(), self.total, outcome))
