"""The state of a plan: the list of its logs that a run leaves beside them, and what these logs say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from dlbs.doubts import doubts_of
from dlbs.errors import LogError
from dlbs.experiment import Experiment, describe, log_path
from dlbs.files import open_regular, write_atomically
from dlbs.jsonio import load_json
from dlbs.logs import STATUSES, first_values, last_values
from dlbs.run.differences import Differences
from dlbs.run.locks import LOCK_NAME, PLAN_NAME, owner
from dlbs.text import text

__all__ = ["Manifest", "State", "label", "read_states"]

_LONGEST_LIST = 64 << 20  # bytes of a list of logs that are read


@dataclass(slots=True)
class Manifest:
    """The logs that a plan is going to leave.

    Attributes:
        count: Experiments.
        directories: Absolute log directories of those that are to run.
        on_bare_metal: Whether some run outside containers.
        differences: Between the experiments.
    """

    differences: Differences = field(default_factory=Differences)
    count: int = 0
    directories: set[Path] = field(default_factory=set)
    on_bare_metal: bool = False
    _logs: list[str] = field(default_factory=list)

    def add(self, experiment: Experiment) -> None:
        """Take an experiment into account."""
        self.count += 1
        self.differences.add(experiment)
        self.on_bare_metal |= experiment.get("exp.docker") is False
        if experiment.get("exp.status") not in {"inactive", "simulate"}:
            log = log_path(experiment, Path()).absolute()
            self.directories.add(log.parent)
            self._logs.append(str(log))

    def write(self) -> None:
        """Leave a list of the logs in each of their directories, so that `dlbs status` knows what is still to do.

        Its first line holds the names of the parameters that differ.

        Raises:
            ConfigError: It cannot be written.
        """
        by_directory: dict[Path, list[str]] = {}
        for log in self._logs:
            path = Path(log)
            by_directory.setdefault(path.parent, []).append(path.name)
        for directory, names in by_directory.items():
            with write_atomically(directory / PLAN_NAME, follow=False) as stream:
                stream.write(json.dumps(self.differences.names) + "\n")
                stream.writelines(json.dumps(name) + "\n" for name in names)


@dataclass(frozen=True, slots=True)
class State:
    """One experiment.

    Attributes:
        log: Its log file, which need not be there yet.
        status: ok, failure, timeout, skipped or cancelled; running; queued (an executor is going to run it); interrupted (it was
            under way when its run was killed); to do.
        message: Why, in one line.
        doubts: Kinds of the warnings about its numbers, if it ended well.
    """

    log: Path
    status: str
    message: str = ""
    doubts: tuple[str, ...] = ()


def read_states(directory: Path, owned: Set[Path] = frozenset()) -> list[State]:
    """The states of all experiments whose logs are, or will be, in a directory.

    Args:
        directory: Of the logs.
        owned: Absolute paths of logs that an executor is writing, or is going to write, though no `dlbs run` watches it.

    Raises:
        LogError: There is no such directory, or it cannot be read.
    """
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror}", where=str(directory)) from None
    planned = _planned(directory / PLAN_NAME)
    found = {name for name in names if name.endswith(".log")} | {
        name.removesuffix(".part") for name in names if name.endswith(".part")
    }
    held = owner(directory) is not None
    waited_for = {path.name for path in owned if path.parent == directory.absolute()}
    return [
        _state(directory / name, names, held or name in waited_for, name in waited_for)
        for name in sorted(found | set(planned))
    ]


def _state(log: Path, names: set[str], alive: bool, queued: bool) -> State:
    if f"{log.name}.part" in names:
        return State(log, "running" if alive else "interrupted")
    if queued:
        return State(log, "queued")
    if log.name not in names:
        return State(log, "to do")
    ending = last_values(log)
    status = ending.get("exp.status")
    if status not in STATUSES:
        return State(log, "interrupted", "the log does not say how it ended")
    doubts = tuple(doubts_of(ending)) if status == "ok" else ()
    return State(log, str(status), text(ending.get("exp.status_msg")), doubts)


def label(log: Path) -> str:
    """An experiment whose log is there, or being written, by the parameters that tell it from the others of its plan; else empty.

    Raises:
        LogError: The log cannot be read.
    """
    values = first_values(log) or first_values(f"{log}.part")
    return describe(values, _differing(log.parent / PLAN_NAME)) if values else ""


def _differing(path: Path) -> tuple[str, ...]:
    """The names in the first line of a list of logs; none if there is no such list."""
    try:
        with open_regular(path) as stream:
            names = load_json(stream.readline(_LONGEST_LIST))
    except (OSError, ValueError, LogError):
        return ()
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _planned(path: Path) -> Iterator[str]:
    try:
        with open_regular(path) as stream:
            lines = stream.read(_LONGEST_LIST).decode("utf-8").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise LogError("is not UTF-8, so it is no list of logs", where=str(path), hint="remove it") from None
    for line in lines:
        try:
            name = load_json(line)
        except ValueError:
            continue
        if isinstance(name, str) and name == Path(name).name and name not in {LOCK_NAME, PLAN_NAME}:
            yield name
