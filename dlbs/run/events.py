"""The events of a running plan, for its observers: the terminal, a progress file, a callback in a notebook."""

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
    """Interface for receiving the events of a running plan; a context manager around the run.

    Attributes:
        tick_seconds: Interval of `tick` calls while nothing happens; None for no calls.
    """

    tick_seconds: float | None

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, total: int) -> None:
        """The run begins with `total` experiments."""

    def grow(self, total: int) -> None:
        """The number of experiments has changed to `total`."""

    def skipped(self, why: str) -> None:
        """The next experiment does not run: it is `finished`, `inactive` or `simulated`."""

    def started(self, experiment: Experiment, log: Path) -> None:
        """An experiment begins."""

    def withdrawn(self, experiment: Experiment) -> None:
        """An experiment was cancelled before it began."""

    def again(self, experiment: Experiment, outcome: Outcome, attempt: int) -> None:
        """An experiment failed and will be retried."""

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        """An experiment has ended."""

    def tick(self) -> None:
        """`tick_seconds` have passed."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change of state of an experiment.

    Attributes:
        kind: `started`, `retried` (it failed and will be retried) or `ended`.
        experiment: Its final parameters.
        done: Number of experiments of the plan that need no more work.
        total: Number of experiments of the plan.
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
        function: Called in the thread that runs the plan, between experiments: a slow function delays the next one.
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
