"""The state of a plan: the plan file that a run writes next to its logs, and the states in these logs."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlbs.doubts import kind_of, warnings_of
from dlbs.errors import LogError, did_you_mean
from dlbs.experiment import describe
from dlbs.logs import STATUSES, finite, first_values, last_values, start_time
from dlbs.run.locks import owner
from dlbs.run.planfile import read_plan_file
from dlbs.run.remaining import Durations, Remaining, remaining_time
from dlbs.text import text

__all__ = ["State", "ended_state", "label", "read_state", "read_states", "time_left"]


@dataclass(frozen=True, slots=True)
class State:
    """The state of an experiment.

    Attributes:
        log: Its log file, which may not exist yet.
        status: ok, failure, timeout, skipped or cancelled; running; queued (an executor will run it); interrupted (it was
            running when its run was killed); unknown (running or interrupted: only its executor knows); to do.
        message: The reason, in one line.
        warnings: Warnings about its numbers, if it is ok.
        seconds: Its duration; None if its log does not contain it.
    """

    log: Path
    status: str
    message: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float | None = None

    @property
    def doubts(self) -> list[str]:
        """Kinds of the warnings, without duplicates."""
        return list(dict.fromkeys(map(kind_of, self.warnings)))


def read_states(directory: Path, owned: Set[Path] | None = frozenset()) -> list[State]:
    """The states of all experiments whose logs are or will be in a directory, in the plan's order, after those that are not in the plan.

    Args:
        directory: Directory of the logs.
        owned: Absolute paths of logs that an executor is writing or will write without a `dlbs run`; None if
            its executor could not be queried.

    Raises:
        LogError: The directory does not exist, or cannot be read.
    """
    try:
        names = {path.name for path in directory.iterdir()}
    except FileNotFoundError:
        hint = _directory_hint(directory)
        raise LogError("no such directory", where=str(directory), hint=hint) from None
    except NotADirectoryError:
        raise LogError("is not a directory", where=str(directory), hint="pass the log directory of a plan") from None
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror}", where=str(directory)) from None
    planned = read_plan_file(directory).logs
    found = {name for name in names if name.endswith(".log")} | {
        name.removesuffix(".part") for name in names if name.endswith(".part")
    }
    held = owner(directory) is not None
    waited_for = {path.name for path in owned or () if path.parent == directory.absolute()}
    dead = "interrupted" if owned is not None else "unknown"
    return [
        read_state(directory / name, names, "running" if held or name in waited_for else dead, name in waited_for)
        for name in (*sorted(found.difference(planned)), *planned)
    ]


def _directory_hint(missing: Path) -> str:
    """The log directory that may be meant, or how logs are written."""
    try:
        beside = [path.name for path in missing.absolute().parent.iterdir() if path.is_dir()]
    except OSError:
        beside = []
    close = did_you_mean(missing.name, beside)
    return close or "`dlbs run` writes logs to logs/, or to exp.log_dir"


def read_state(log: Path, names: Collection[str], under_way: str, queued: bool) -> State:
    """The state of one experiment.

    Args:
        log: Its log file.
        names: Names of the files in the directory of the log.
        under_way: Its status if its log is being written.
        queued: Whether an executor will run it.
    """
    if f"{log.name}.part" in names:
        return State(log, under_way)
    if queued:
        return State(log, "queued")
    if log.name not in names:
        return State(log, "to do")
    try:
        ending = last_values(log)
    except LogError as error:  # one that is not a file must not hide the others
        return State(log, "interrupted", error.what)
    return ended_state(log, ending)


def ended_state(log: Path, ending: Mapping[str, Any]) -> State:
    """The state of an experiment whose log is complete.

    Args:
        log: Its log file.
        ending: At least the values at its end.
    """
    status = ending.get("exp.status")
    if status not in STATUSES:
        return State(log, "interrupted", "the log does not contain its outcome")
    warnings = tuple(warnings_of(ending)) if status == "ok" else ()
    seconds = ending.get("exp.seconds")
    return State(
        log,
        str(status),
        text(ending.get("exp.status_msg")),
        warnings,
        finite(seconds) if status != "skipped" else None,
    )


def time_left(states: Sequence[State]) -> Remaining | None:
    """The remaining time of plans that are running, from the times in their logs; None if none runs, or none has ended yet."""
    running = [state for state in states if state.status == "running"]
    if not running:
        return None
    left = len(running) + sum(state.status in {"queued", "to do"} for state in states)
    now = time.time()
    starts = (start_time(f"{state.log}.part") for state in running)
    taken = [max(0.0, now - begin) for begin in starts if begin is not None]
    durations = Durations.of(state.seconds for state in states if state.seconds is not None)
    return remaining_time(durations, left, taken, len(running))


def label(log: Path) -> str:
    """The label of an experiment with a complete or partial log: the parameters that differ within its plan; else empty.

    Also empty if the log cannot be read; the state contains the reason.
    """
    try:
        values = first_values(log) or first_values(f"{log}.part")
        differing = read_plan_file(log.parent).differing
    except LogError:
        return ""
    return describe(values, differing) if values else ""
