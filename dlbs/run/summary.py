"""The outcome of a plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlbs.doubts import Doubts, warnings_of
from dlbs.executors.base import Outcome
from dlbs.exit_codes import FAILED, OK, SIGNALLED

__all__ = ["Summary"]


@dataclass(slots=True)
class Summary:
    """The outcome of a plan.

    Attributes:
        outcomes: Status → number of experiments that ended with it in this run.
        kept: Experiments that were already finished.
        kept_skipped: Number of these that were skipped.
        inactive: Experiments with exp.status=inactive.
        simulated: Experiments with exp.status=simulate, whose launchers were shown.
        left: Experiments that were not started, because the run was stopped; after `--detach`, those that continue.
        stop_signal: Signal that stopped the run; 0 if none.
        stopped: The reason that a policy stopped the run early.
        doubts: Warnings of ok experiments, of this run or before.
        directories: Directories that logs were written to.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    kept_skipped: int = 0
    inactive: int = 0
    simulated: int = 0
    left: int = 0
    stop_signal: int = 0
    stopped: str = ""
    doubts: Doubts = field(default_factory=Doubts)
    directories: set[Path] = field(default_factory=set)

    @property
    def failed(self) -> int:
        """Number of experiments that ended with a status other than ok."""
        return sum(count for status, count in self.outcomes.items() if status not in {"ok", "skipped"})

    @property
    def all_skipped(self) -> bool:
        """Whether everything was skipped, so that nothing was measured."""
        return 0 < self.outcomes["skipped"] + self.kept_skipped == self.outcomes.total() + self.kept + self.left

    @property
    def exit_code(self) -> int:
        """The exit code of `dlbs run`."""
        if self.stop_signal:
            return SIGNALLED + self.stop_signal
        return FAILED if self.failed or self.stopped or self.all_skipped else OK

    def document(self) -> dict[str, Any]:
        """The summary as a JSON document."""
        return {
            "outcomes": dict(self.outcomes),
            "already_finished": self.kept,
            "inactive": self.inactive,
            "simulated": self.simulated,
            "left": self.left,
            "doubtful": self.doubts.doubtful,
            "doubts": dict(self.doubts.kinds),
            "stop_signal": self.stop_signal or None,
            "stopped": self.stopped or None,
            "all_skipped": self.all_skipped,
            "directories": sorted(map(str, self.directories)),
            "exit_code": self.exit_code,
        }

    def keep(self, ending: dict[str, object]) -> None:
        """Count an experiment that was already finished, by the end of its log."""
        self.kept += 1
        self.kept_skipped += ending.get("exp.status") == "skipped"
        if ending.get("exp.status") == "ok":
            self.doubts.add(warnings_of(ending))

    def end(self, outcome: Outcome) -> None:
        """Count an experiment that has ended."""
        self.outcomes[outcome.status] += 1
        if outcome.status == "ok":
            self.doubts.add(warnings_of(outcome.results))
