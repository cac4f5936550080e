"""The interface between the plan driver and executors, and the plain data that they exchange.

An executor subclasses `Executor` and defines `running`, `start`, `next_look`, `look` and `end_all`. The other methods have defaults for
executors whose experiments end with `dlbs run`. docs/executors.md shows a complete example.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dlbs.experiment import Experiment

__all__ = ["FRAMEWORK", "WITHDRAWN", "Check", "Executor", "Outcome", "Problem", "Site"]

WITHDRAWN = "withdrawn"
FRAMEWORK = "{framework}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one experiment ended.

    Attributes:
        status: ok, failure, timeout, skipped or cancelled; or withdrawn: cancelled before it began, without a log.
        message: The reason, in one line; empty for ok.
        seconds: Wall time of the launcher.
        results: The log's `results.*` values that appear near its end; `results.warnings` does.
        exit_code: Exit code of the benchmark; None if it never ended.
    """

    status: str
    message: str = ""
    seconds: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason that an experiment would fail, and the fix."""

    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """The place where a plan is checked.

    Attributes:
        directory: Where experiments run and relative paths begin.
        may_run: Whether programs that the plan names may be started. True only if the plan is about to run: inspecting
            an untrusted plan must not start anything.
        nodes: Hosts that may be contacted even if the plan is only inspected, because the user typed them.
    """

    directory: Path
    may_run: bool = False
    nodes: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Check:
    """A check that is made before a plan runs.

    Attributes:
        reads: Parameters that it depends on; it runs once for each combination of their values. `FRAMEWORK` in a name is the
            experiment's framework.
        find: Returns the problem, or None.
    """

    reads: tuple[str, ...]
    find: Callable[[Experiment, Site], Problem | None]


class Executor(Protocol):
    """An object that runs experiments, constructed with their working directory and `--jobs` (None: the executor's default).

    All methods are called from a single thread. Only the constructor, `owned_logs` and the checks are called before the log directories
    are locked.

    Attributes:
        detachable: Whether experiments continue after `dlbs run` exits, as `--detach` requires.
        checks: Checks that are made before a plan runs.
    """

    detachable: bool = False
    checks: Sequence[Check] = ()

    def __init__(self, directory: Path, jobs: int | None = None) -> None: ...

    @property
    @abstractmethod
    def running(self) -> int:
        """Number of started experiments whose outcome has not been returned yet."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether `start` may succeed now; while False, no more experiments are drawn from the plan."""
        return True

    def prepare(self) -> None:
        """Prepare the executor; called once, before the first experiment.

        Raises:
            LaunchError: Nothing can be started.
        """
        return

    def owned_logs(self, directory: Path) -> Set[Path]:
        """Absolute paths of the logs in a directory that experiments of an earlier run write now or will write.

        Their processes are not ended, and `start` watches such an experiment instead of starting it again.
        Called repeatedly during a run, also after experiments were started: an experiment that has ended is not watched again.

        Raises:
            LaunchError: The answer cannot be determined now.
        """
        return frozenset()

    @abstractmethod
    def start(self, experiment: Experiment) -> bool:
        """Start a resolved experiment, whose log becomes `exp.log_file`; return False if there is no room now.

        Raises:
            LaunchError: It cannot run.
        """
        ...

    def flush(self) -> None:
        """Submit experiments in bulk; called after everything that fits now was started.

        Raises:
            LaunchError: They are rejected.
        """
        return

    @abstractmethod
    def next_look(self) -> float | None:
        """Time (`time.monotonic()`) of the next call of `look`; None: when a child process ends."""
        ...

    @abstractmethod
    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        """Do the work that is due, without blocking, and yield the experiments that have ended. May be called early."""
        ...

    def withdraw(self, unwanted: Callable[[Experiment], bool]) -> None:
        """Cancel experiments that were started but have not begun; `look` yields them as withdrawn."""
        return

    @abstractmethod
    def end_all(self, message: str) -> None:
        """Request that all experiments end, as cancelled; called repeatedly until none is left."""
        ...
