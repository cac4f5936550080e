"""Log directories belong to one run at a time; what a killed run left behind there is ended."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from dlbs.errors import LaunchError
from dlbs.executors.job import LOG_VARIABLE
from dlbs.executors.slurm import live_logs
from dlbs.launch.container import container_name, remove_container
from dlbs.logs import first_values

__all__ = ["LOCK_NAME", "claimed", "end_orphans", "owner"]

LOCK_NAME = ".dlbs.lock"

_ATTEMPTS = 5


@contextmanager
def claimed(directories: Iterable[Path], *, wait: bool = False, slurm: bool = False) -> Iterator[None]:
    """Hold log directories while a plan runs, and begin by ending what an earlier run left running there.

    The lock is the kernel's, on a file: it is gone with the process, however that ends.

    Args:
        directories: They are made if they do not exist.
        wait: Wait for another run to end instead of refusing.
        slurm: Leave jobs of an earlier run that are in Slurm's queue alone: they are going to be watched.

    Raises:
        LaunchError: Another run holds one of them, or it cannot be written to.
    """
    with ExitStack() as stack:
        for directory in sorted(directories):
            stack.enter_context(_locked(directory, wait))
        for directory in directories:
            spared = live_logs(directory)
            if spared and not slurm:
                raise LaunchError(
                    f"{len(spared)} Slurm jobs of an earlier run are going to write here",
                    where=str(directory),
                    hint="go on with --executor slurm, or scancel them",
                )
            end_orphans(directory, spared)
        yield


@contextmanager
def _locked(directory: Path, wait: bool) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        stream = open(directory / LOCK_NAME, "a+", encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"logs cannot be written: {error.strerror}", where=str(directory)) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LaunchError(
                f"another dlbs run is writing here (process {_pid(stream) or 'unknown'})",
                where=str(directory),
                hint="wait for it with --wait, or choose another exp.log_dir",
            ) from None
        stream.truncate(0)
        json.dump({"pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}, stream)
        stream.flush()
        yield


def _pid(stream: IO[str]) -> int | None:
    stream.seek(0)
    try:
        pid = json.load(stream)["pid"]
    except (ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) else None


def owner(directory: Path) -> int | None:
    """Process id of the run that holds a log directory; None if there is none."""
    try:
        with open(directory / LOCK_NAME, encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _pid(stream) or 0
    except OSError:
        return None
    return None


def end_orphans(directory: Path, spared: Set[str] = frozenset()) -> int:
    """End the processes and containers of experiments whose logs are unfinished, and return how many processes there were.

    Processes are known by the log file in their environment, which everything that an experiment starts inherits; containers by
    their names, which are made of the log's path. Nothing is known by the name of its program.

    Args:
        directory: Of the logs.
        spared: Logs whose experiments are alive and well.
    """
    logs = {str(part)[: -len(".part")]: part for part in directory.absolute().glob("*.part")}
    logs = {log: part for log, part in logs.items() if log not in spared}
    if not logs:
        return 0
    ended = 0
    for _ in range(_ATTEMPTS):  # a process may start another one while the list is read
        left = list(_processes_of(set(logs)))
        for process in left:
            try:
                process.kill()
                ended += 1
            except Exception:  # it has ended by itself
                continue
        if not left:
            break
        for process in left:
            try:
                process.wait(5)
            except Exception:
                continue
    for log, part in logs.items():
        _remove_container_of(Path(log), part)
    return ended


def _processes_of(logs: set[str]) -> Iterator[Any]:
    import psutil

    for process in psutil.process_iter():
        try:
            if process.environ().get(LOG_VARIABLE) in logs and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.Error, OSError):
            continue  # it has ended, or is another user's


def _remove_container_of(log: Path, part: Path) -> None:
    values = first_values(part)
    # The name is made anew, not read: an unfinished log must not be able to name a container of somebody else's.
    name = container_name(values, log)
    if name and re.fullmatch(r"dlbs-[A-Za-z0-9_.-]+", name):
        remove_container({"exp.docker_launcher": "docker", **_docker_command(values)}, name)


def _docker_command(values: dict[str, Any]) -> dict[str, Any]:
    command = values.get("exp.docker_launcher")
    return {"exp.docker_launcher": command} if command in {"docker", "podman", "nerdctl"} else {}
