"""What a child process has used in its whole life, as the kernel counts it: the only source for a process that ended before anyone looked."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

__all__ = ["Usage", "reap"]

_BLOCK = 512  # bytes: the unit of ru_inblock and ru_oublock


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and of all descendants that were waited for (getrusage(2)).

    The most memory (ru_maxrss) is not among it: Linux counts what this process held when it made the child.

    Attributes:
        cpu: CPU time in seconds.
        io_read: Bytes read from disks.
        io_write: Bytes written to disks.
    """

    cpu: float
    io_read: float
    io_write: float


def reap(process: subprocess.Popen[bytes], *, block: bool = False) -> Usage | None:
    """What a process has used, if it has ended; its `returncode` is set as `process.poll()` would set it.

    Args:
        process: A child that `poll` and `wait` have not seen the end of.
        block: Wait until it ends.
    """
    try:
        pid, status, found = os.wait4(process.pid, 0 if block else os.WNOHANG)
    except ChildProcessError:  # somebody else has waited for it
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
