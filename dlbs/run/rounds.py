"""A plan that grows in rounds: the experiments of a round are known after all of the previous round have ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from dlbs.executors.base import Outcome
from dlbs.experiment import Experiment
from dlbs.run.events import Observer

__all__ = ["Rounds", "Source"]


class Source(Protocol):
    """The interface that chooses the experiments of rounds."""

    def next_round(self) -> Iterable[Experiment]:
        """The experiments of the next round; empty if done. Called after all experiments of the previous round have ended."""
        ...

    def may_start(self, experiment: Experiment) -> bool:
        """Whether an experiment of the round may start now; if not, no more are started."""
        ...

    def has_ended(self, experiment: Experiment, outcome: Outcome | None) -> None:
        """Record that an experiment of the round has ended; the outcome is None if it ended before this run (its log exists)."""
        ...

    def expected_total(self) -> int:
        """Minimum number of experiments, those of earlier rounds included."""
        ...


class Rounds:
    """The experiments of all rounds, as an iterator for the driver and an observer of their outcomes.

    Args:
        source: Chooses the experiments of rounds.
        observer: Receives all events too.
    """

    def __init__(self, source: Source, observer: Observer) -> None:
        self.source, self.observer = source, observer
        self.tick_seconds: float | None = None
        self._queue: deque[Experiment] = deque()
        self._under_way: dict[str, Experiment] = {}  # log file → a drawn experiment that has not ended
        self._drawn: Experiment | None = None
        self._total = 0

    def __iter__(self) -> Rounds:
        return self

    def __next__(self) -> Experiment | None:
        """The next experiment; None while experiments of the previous round are running."""
        if not self._queue:
            if self._under_way:
                return None
            self._queue.extend(self.source.next_round())
            self._grow()
        if not self._queue or not self.source.may_start(self._queue[0]):
            raise StopIteration
        self._drawn = self._queue.popleft()
        self._under_way[str(self._drawn["exp.log_file"])] = self._drawn
        return self._drawn

    def _grow(self) -> None:
        total = self.source.expected_total()
        if total != self._total:
            self._total = total
            self.observer.grow(total)

    def __enter__(self) -> Rounds:
        self.observer.__enter__()
        self.tick_seconds = self.observer.tick_seconds
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.observer.__exit__(kind, value, trace)

    def begin(self, total: int) -> None:
        self._total = self.source.expected_total()
        self.observer.begin(self._total)

    def grow(self, total: int) -> None:
        self.observer.grow(total)

    def skipped(self, why: str) -> None:
        self.observer.skipped(why)
        if self._drawn is not None:  # the driver calls this before it draws another one
            self._end(self._drawn, None)

    def started(self, experiment: Experiment, log: Path) -> None:
        self.observer.started(experiment, log)

    def withdrawn(self, experiment: Experiment) -> None:
        self.observer.withdrawn(experiment)

    def again(self, experiment: Experiment, outcome: Outcome, attempt: int) -> None:
        self.observer.again(experiment, outcome, attempt)

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        self.observer.ended(experiment, outcome)
        self._end(experiment, outcome)

    def tick(self) -> None:
        self.observer.tick()

    def _end(self, experiment: Experiment, outcome: Outcome | None) -> None:
        del self._under_way[str(experiment["exp.log_file"])]
        self.source.has_ended(experiment, outcome)
