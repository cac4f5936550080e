"""Experiments that run without `dlbs run`: their task file, the program that runs one of them, and the outcome in its log.

    python -m dlbs.executors.detached [--allocated-gpus] FILE NUMBER

runs the experiment in that line of the file, counted from 0, in the current directory, as in the foreground on this machine; with
`--allocated-gpus`, on the GPUs that a scheduler allocated to it, whichever numbers it names.
The exit code is 0 if it succeeded. Executors whose experiments outlive them (Slurm, nohup) submit this command.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlbs.errors import DlbsError, LaunchError, LogError
from dlbs.executors.base import Outcome
from dlbs.executors.local import LocalExecutor
from dlbs.executors.logfiles import write_log
from dlbs.executors.wakeups import Signals
from dlbs.exit_codes import FAILED, OK
from dlbs.experiment import Experiment, log_path
from dlbs.files import read_regular, write_atomically
from dlbs.jsonio import load_json
from dlbs.logs import STATUSES, finite, last_values
from dlbs.text import text
from dlbs.unforeseen import guarded

__all__ = ["Task", "command", "environment", "main", "read_tasks", "write_tasks"]

_ALLOCATED = "--allocated-gpus"
_LONGEST = 256 << 20  # bytes of a task file


@dataclass(frozen=True, slots=True)
class Task:
    """An experiment that runs without `dlbs run`.

    Attributes:
        log: Absolute path of its log.
        replaces: Inode of the log of an earlier run that it will replace; 0 for none.
    """

    experiment: Experiment
    log: Path
    replaces: int

    @classmethod
    def of(cls, experiment: Experiment, directory: Path) -> Task:
        """The task of an experiment that runs in `directory`."""
        log = log_path(experiment, directory).absolute()
        return cls(experiment, log, _inode(log))

    def outcome(self) -> Outcome | None:
        """The outcome that its log records; None while the log does not exist."""
        if _inode(self.log) == self.replaces:
            return None
        try:
            ending = last_values(self.log)
        except LogError as error:
            return Outcome("failure", str(error))
        if ending.get("exp.status") not in STATUSES:
            return None
        code, seconds = ending.get("exp.exit_code"), ending.get("exp.seconds")
        return Outcome(
            str(ending["exp.status"]),
            text(ending.get("exp.status_msg")),
            finite(seconds) or 0.0,
            {key: value for key, value in ending.items() if key.startswith("results.")},
            code if isinstance(code, int) else None,
        )


def write_tasks(file: Path, tasks: Iterable[Task]) -> None:
    """Write tasks, one per line.

    Raises:
        ConfigError: The file cannot be written.
    """
    with write_atomically(file, follow=False) as stream:
        for task in tasks:
            entry = {"log": str(task.log), "replaces": task.replaces, "experiment": task.experiment}
            stream.write(json.dumps(entry) + "\n")


def read_tasks(file: Path) -> list[Task]:
    """Read tasks.

    Raises:
        LaunchError: The file cannot be read, or is not a task file.
    """
    return [_task(line, file) for line in _lines(file)]


def _lines(file: Path) -> list[str]:
    try:
        return read_regular(file, _LONGEST).decode().splitlines()
    except FileNotFoundError:
        raise LaunchError("does not exist", where=str(file)) from None
    except LogError as error:
        raise LaunchError(error.what, where=error.where) from None
    except UnicodeDecodeError as error:
        raise LaunchError(f"cannot be read: {error}", where=str(file)) from None


def _task(line: str, file: Path) -> Task:
    try:
        entry = load_json(line, keep_bytes=True)
        return Task(dict(entry["experiment"]), Path(entry["log"]), int(entry["replaces"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise LaunchError(f"is not a list of experiments: {error}", where=str(file)) from None


def command(file: Path, *, allocated_gpus: bool = False) -> str:
    """Shell code that runs a task of a file; the caller appends its number."""
    options = f"{_ALLOCATED} " if allocated_gpus else ""
    return f"{shlex.quote(sys.executable)} -m dlbs.executors.detached {options}{shlex.quote(str(file))}"


def environment() -> dict[str, str]:
    """Environment variables that make `command` import this copy of the package on any machine."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
    }


def main(*arguments: str) -> int:
    """Run one task to its end, and return the exit code."""
    *options, file, number = arguments
    task = _task(_lines(Path(file))[int(number)], Path(file))  # the remaining lines, up to a thousand, need no parsing
    try:
        with Signals() as signals:
            executor = LocalExecutor(Path.cwd(), allocated=_ALLOCATED in options)
            if not executor.start(task.experiment):
                raise LaunchError("this machine lacks the resources that the experiment requests")
            while executor.running:
                signals.wait_until(executor.next_look())
                if signals.stop_signal:
                    executor.end_all(f"stopped by {signal.Signals(signals.stop_signal).name}")
                for _, outcome in executor.look():
                    return OK if outcome.status in {"ok", "skipped"} else FAILED
    except DlbsError as error:
        print(f"error: {error}", flush=True)
        try:
            write_log(task.log, task.experiment, "failure", str(error))
        except DlbsError as problem:
            print(f"error: {problem}", flush=True)
    return FAILED


def _inode(log: Path) -> int:
    try:
        return log.stat().st_ino
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(*sys.argv[1:])))
