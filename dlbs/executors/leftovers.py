"""Processes, containers and partial logs that a killed run left behind.

Processes are found by the log in their environment, wherever they moved since. A process group is not enough: a process in a separate session, such as each worker of torchrun, is not in that of the launcher.
"""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark_core.log import LOG_VARIABLE, STATUSES
from dlbs.core.errors import LogError
from dlbs.core.logs import ENGINES, first_values, last_values
from dlbs.core.text import text
from dlbs.launch.containers import container_name, remove_container

if TYPE_CHECKING:
    import psutil


_ATTEMPTS = 5


def processes_of(logs: Set[str]) -> list[psutil.Process]:
    """The running processes of the experiments with these logs (absolute paths); those of other users are not visible.

    This reads the environment of every process of the machine, which takes milliseconds.
    """
    import psutil

    wanted = logs | {_without_links(log) for log in logs}
    found = []
    for process in psutil.process_iter():
        try:
            log = process.environ().get(LOG_VARIABLE)
            if not log or process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
        except (psutil.Error, OSError):
            continue  # ended, or owned by another user
        if log in wanted or _without_links(log) in wanted:
            found.append(process)
    return found


def _without_links(log: str) -> str:
    directory, name = os.path.split(log)
    return os.path.join(os.path.realpath(directory), name)


def send(number: signal.Signals, processes: list[psutil.Process]) -> int:
    """Send a signal to processes, and return how many got it."""
    import psutil

    sent = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # ended by itself, or now owned by another user
            process.send_signal(number)
            sent += 1
    return sent


def are_running(processes: list[psutil.Process]) -> bool:
    """Whether any of these processes has not ended."""
    import psutil

    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except psutil.Error:
            continue
    return False


def end_processes(logs: Set[str]) -> int:
    """Kill the processes of the experiments with these logs (absolute paths), and return how many were killed."""
    import psutil

    ended = 0
    for _ in range(_ATTEMPTS):  # a process may start another while the list is read
        left = processes_of(logs)
        if not left:
            break
        ended += send(signal.SIGKILL, left)
        psutil.wait_procs(left, timeout=5)
    return ended


def clear_directory(directory: Path, spared: Set[Path]) -> None:
    """End what an earlier run left in a log directory, and remove its partial logs next to complete ones.

    Args:
        directory: Directory of the logs.
        spared: Absolute paths of the logs of running experiments to leave alone.
    """
    end_orphans(directory, spared)
    _remove_interrupted_repeats(directory, spared)


def end_orphans(directory: Path, spared: Set[Path] = frozenset()) -> int:
    """End the processes and containers of experiments with unfinished logs, and return the number of processes.

    Processes are identified by the log file in their environment, which all child processes inherit; containers by
    their names, which derive from the path of the log; never by the name of a program.

    Args:
        directory: Directory of the logs.
        spared: Absolute paths of the logs of running experiments to leave alone.
    """
    parts = {part.with_suffix(""): part for part in directory.absolute().glob("*.part")}
    kept = _names_in(directory, spared)
    logs = {log: part for log, part in parts.items() if log.name not in kept}
    if not logs:
        return 0
    ended = end_processes(set(map(str, logs)))
    for log, part in logs.items():
        _remove_container_of(log, part)
    return ended


def _names_in(directory: Path, logs: Set[Path]) -> set[str]:
    """Names of the logs in a directory, also of those whose paths lead there through links."""
    place = os.path.realpath(directory)
    return {log.name for log in logs if os.path.realpath(log.parent) == place}


def _remove_interrupted_repeats(directory: Path, spared: Set[Path]) -> None:
    """Remove the partial log of each experiment whose log is complete: a run that repeated it was killed."""
    kept = _names_in(directory, spared)
    for part in directory.absolute().glob("*.part"):
        log = part.with_suffix("")
        if log.name in kept or not os.path.lexists(log):
            continue
        with suppress(LogError, OSError):  # not a log; the run reports that
            if stat.S_ISREG(part.lstat().st_mode) and last_values(log).get("exp.status") in STATUSES:
                part.unlink()


def _remove_container_of(log: Path, part: Path) -> None:
    try:
        values = first_values(part)
    except LogError:
        return  # a link or a pipe, so not left by a run
    # The name is computed, not read: an unfinished log must not be able to name a foreign container.
    name = container_name(values, log)
    if name and re.fullmatch(r"dlbs-[A-Za-z0-9_.-]+", name):
        # A log may come from a stranger, and must not name any program.
        engine = text(values.get("exp.docker_launcher"))
        remove_container({"exp.docker_launcher": engine if engine in ENGINES else "docker"}, name)
