"""The interface between the plan driver and executors, and which executors there are.

An executor subclasses `Executor` and defines `running`, `start`, `next_look`, `look` and `end_all`. The other methods have defaults for
executors whose experiments end with `dlbs run`. docs/launchers.md shows a complete example.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from dlbs.core.errors import ConfigError, LaunchError, did_you_mean
from dlbs.core.experiment import Check, Experiment

WITHDRAWN = "withdrawn"


class Outcome(NamedTuple):
    """How one experiment ended.

    Attributes:
        status: ok, failure, timeout, skipped or cancelled; or withdrawn: cancelled before it began, without a log.
        message: The reason, in one line; empty for ok.
        seconds: Wall time of the launcher.
        results: The log's `results.*` values that appear near its end; `results.warnings` does.
        exit_code: Exit code of the benchmark; None if it never ended.
        infrastructure: Whether the machine, a service or a directory failed, not the experiment; the status is cancelled.
    """

    status: str
    message: str = ""
    seconds: float = 0.0
    results: Mapping[str, Any] = MappingProxyType({})
    exit_code: int | None = None
    infrastructure: bool = False


class Executor(Protocol):
    """An object that runs experiments, constructed with their working directory and `--jobs` (None: the executor's default).

    All methods are called from a single thread. Only the constructor, `owned_logs` and the checks are called before the log directories
    are locked.

    Attributes:
        detachable: Whether experiments continue after `dlbs run` exits, as `--detach` requires.
        checks: Checks that are made before a plan runs.
        gives_turns: Whether experiments can take turns (`start_together`).
    """

    detachable: bool = False
    gives_turns: bool = False
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
        """Start a resolved experiment, whose log becomes `exp.log_file` in a directory that exists; return False if there is no room now.

        Raises:
            LaunchError: It cannot run.
            InfrastructureError: No experiment can run now.
        """
        ...

    def start_together(self, experiments: Sequence[Experiment]) -> bool:
        """As `start`, for experiments that take turns; `look` yields their outcomes together, when the last one has ended."""
        raise LaunchError("this executor does not let experiments take turns")

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


ENTRY_POINTS = "dlbs.executors"

# Name → module:class, imported on first use.
EXECUTORS = {
    "local": "dlbs.executors.local:LocalExecutor",
    "slurm": "dlbs.executors.slurm:SlurmExecutor",
    "ssh": "dlbs.executors.ssh:SshExecutor",
}


def load_executor(name: str) -> type[Executor]:
    """The class of an executor: by its name, or `module:class`.

    Raises:
        ConfigError: The name is unknown, or the class cannot be imported.
    """
    place = name if ":" in name else EXECUTORS.get(name) or _entry_points().get(name)
    if not place:
        known = [*EXECUTORS, *_entry_points()]
        raise ConfigError(
            f"unknown executor {name!r}",
            where="--executor",
            hint=did_you_mean(name, known) or f"known: {', '.join(known)}; or module:Class",
        )
    module, _, attribute = place.partition(":")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{place} cannot be imported: {error}",
            where=f"--executor {name}",
            hint="install its package, or add its directory to PYTHONPATH",
        ) from None
    found = getattr(imported, attribute, None)
    if found is None:
        raise ConfigError(
            f"{place} cannot be imported: {module} has no {attribute}",
            where=f"--executor {name}",
            hint=did_you_mean(attribute, dir(imported)) or "see docs/launchers.md",
        )
    if not isinstance(found, type) or not callable(getattr(found, "start", None)):
        raise ConfigError(f"{place} is not an executor", where=f"--executor {name}", hint="see docs/launchers.md")
    missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
    if missing:
        raise ConfigError(
            f"{place} does not define {missing}", where=f"--executor {name}", hint="see docs/launchers.md"
        )
    return found


def make_executor(name: str, jobs: int | None = None) -> Executor:
    """An executor that runs experiments in the current directory.

    Args:
        name: As for `load_executor`.
        jobs: Experiments to run in parallel; None for the executor's default.

    Raises:
        ConfigError: There is no such executor, or the number is too small.
    """
    if jobs is not None and jobs < 1:
        hint = "must be at least 1, or None"
        raise ConfigError(f"cannot run {jobs} experiments in parallel", where="jobs", hint=hint)
    return load_executor(name)(Path.cwd(), jobs)


def is_registered(name: str) -> bool:
    """Whether a name is built in or another package's entry point."""
    return name in EXECUTORS or name in _entry_points()


def executor_name(executor: Executor) -> str:
    """The name under which `load_executor` finds the class of an executor."""
    place = f"{type(executor).__module__}:{type(executor).__qualname__}"
    names = {known: name for name, known in EXECUTORS.items()}
    return names.get(place) or next((name for name, known in _entry_points().items() if known == place), place)


def _entry_points() -> dict[str, str]:
    from importlib.metadata import entry_points  # slow: reads the metadata of all installed packages

    return {one.name: one.value for one in entry_points(group=ENTRY_POINTS)}
