"""Processes that an experiment started, found by the log in their environment, wherever they moved since.

A process group is not enough: a process in a separate session, such as each worker of torchrun, is not in that of the launcher.
"""

from __future__ import annotations

import os
from collections.abc import Set
from typing import TYPE_CHECKING

from dlbs.logs import LOG_VARIABLE

if TYPE_CHECKING:
    import psutil

__all__ = ["are_running", "end_processes", "processes_of", "terminate"]

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


def terminate(processes: list[psutil.Process]) -> None:
    """Send SIGTERM to processes."""
    import psutil

    for process in processes:
        try:
            process.terminate()
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended by itself, or now owned by another user
            continue


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
    ended = 0
    for _ in range(_ATTEMPTS):  # a process may start another while the list is read
        left = processes_of(logs)
        if not left:
            break
        ended += _kill(left)
    return ended


def _kill(processes: list[psutil.Process]) -> int:
    """Kill processes, wait until they are gone, and return how many were killed."""
    import psutil

    killed = 0
    for process in processes:
        try:
            process.kill()
            killed += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended by itself, or now owned by another user
            continue
    psutil.wait_procs(processes, timeout=5)
    return killed
