"""Total resource usage of a child process as counted by the kernel, the only source for processes too short to sample."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

__all__ = ["Usage", "reap"]

_BLOCK = 512  # bytes: the unit of ru_inblock and ru_oublock


@dataclass(frozen=True, slots=True)
class Usage:
    """Resource usage of a process and all its descendants that were waited for (getrusage(2)).

    Peak memory (ru_maxrss) is omitted: Linux includes the memory of this process when it created the child.

    Attributes:
        cpu: CPU time in seconds.
        io_read: Bytes read from disks.
        io_write: Bytes written to disks.
    """

    cpu: float
    io_read: float
    io_write: float


def reap(process: subprocess.Popen[bytes], *, block: bool = False) -> Usage | None:
    """The resource usage of a process if it has ended; set its `returncode` as `process.poll()` does.

    Args:
        process: A child that `poll` and `wait` have not reaped.
        block: Wait until it ends.
    """
    try:
        pid, status, found = os.wait4(process.pid, 0 if block else os.WNOHANG)
    except ChildProcessError:  # already reaped elsewhere
        process.poll()
        return None
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(
        found.ru_utime + found.ru_stime,
        float(found.ru_inblock * _BLOCK),
        float(found.ru_oublock * _BLOCK),
    )
