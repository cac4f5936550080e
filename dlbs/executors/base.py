"""The interface between the driver of a plan and what runs experiments, and the plain data that pass through it.

An executor subclasses `Executor` and defines `running`, `start`, `next_look`, `look` and `end_all`. The others have defaults that fit
experiments that end with `dlbs run`. docs/executors.md shows a whole one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dlbs.experiment import Experiment

__all__ = ["WITHDRAWN", "Check", "Executor", "Outcome", "Problem", "Site"]

WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one experiment ended.

    Attributes:
        status: ok, failure, timeout, skipped or cancelled; or withdrawn: it was called off before it began and left no log.
        message: Why, in one line; empty if all is well.
        seconds: Wall time of the whole launcher.
        results: The log's `results.*` values, as far as they stand near its end; `results.warnings` does.
        exit_code: Of the benchmark; None if it did not come so far.
    """

    status: str
    message: str = ""
    seconds: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an experiment would fail, and what to do about it."""

    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a plan is checked.

    Attributes:
        directory: Where experiments run and relative paths begin.
        may_run: Whether programs that the plan names may be asked. Only where the plan is going to be run anyway: looking at a
            stranger's plan must not start anything.
        nodes: Hosts that may be contacted though the plan is only looked at, because the user has typed them.
    """

    directory: Path
    may_run: bool = False
    nodes: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Check:
    """Something that is looked at before a plan runs.

    Attributes:
        reads: Parameters that it depends on; it is made once for each combination of their values.
        find: Gives the problem, or None.
    """

    reads: tuple[str, ...]
    find: Callable[[Experiment, Site], Problem | None]


class Executor(Protocol):
    """What runs experiments. Made with the directory where they run, and `--jobs` (None: as many as suits it).

    All methods are called from one thread. Only the constructor, `owned_logs` and the checks are called before the log directories
    are locked.

    Attributes:
        detachable: Whether what was started goes on without `dlbs run`, so that `--detach` makes sense.
        checks: What is looked at before a plan runs.
    """

    detachable: bool = False
    checks: Sequence[Check] = ()

    def __init__(self, directory: Path, jobs: int | None = None) -> None: ...

    @property
    @abstractmethod
    def running(self) -> int:
        """Experiments that were started and whose outcome has not been given."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether `start` may succeed now; while not, no more experiments are drawn from the plan."""
        return True

    def prepare(self) -> None:
        """Called once, before the first experiment.

        Raises:
            LaunchError: Nothing can be started at all.
        """
        return

    def owned_logs(self, directory: Path) -> Set[Path]:
        """Absolute paths of the logs in a directory that experiments of an earlier run are going to write, or are writing.

        Their processes are left alone, and `start` of such an experiment watches it instead of starting it anew.

        Raises:
            LaunchError: It cannot be found out now.
        """
        return frozenset()

    @abstractmethod
    def start(self, experiment: Experiment) -> bool:
        """Start a resolved experiment, which leaves its log under `exp.log_file`; False if there is no room for it now.

        Raises:
            LaunchError: It cannot run at all.
        """
        ...

    def flush(self) -> None:
        """Called when all was started that fits now, for executors that hand over many at once.

        Raises:
            LaunchError: They are refused.
        """
        return

    @abstractmethod
    def next_look(self) -> float | None:
        """Moment of `time.monotonic()` at which `look` is to be called; None for when a child process ends."""
        ...

    @abstractmethod
    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        """Go on with what is due, without blocking, and give the experiments that have ended. Called early too."""
        ...

    def withdraw(self, unwanted: Callable[[Experiment], bool]) -> None:
        """Call off experiments that were started but have not begun: `look` gives them as withdrawn."""
        return

    @abstractmethod
    def end_all(self, message: str) -> None:
        """Ask all experiments to end, as cancelled; called again and again until none is left."""
        ...
