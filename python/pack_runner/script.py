"""A script as a process: started, copied into the log, and ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pack_runner.output import Copier

__all__ = ["GRACE", "Script"]

GRACE = 10.0  # seconds between asking a script to end and killing it


class Script:
    """A script that runs, and whose output goes into the log.

    Args:
        command: Its words.
        environment: Its environment; None is this program's.
        pass_fds: File descriptors that it keeps.
        on_data: Takes lines that it hides in its output (`voir.smuggle`).

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        on_data: Callable[[str], None] | None = None,
    ) -> None:
        sys.stdout.flush()
        self._process = subprocess.Popen(
            command, env=environment, pass_fds=pass_fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._copiers = [Copier(self._process.stdout, 1, on_data), Copier(self._process.stderr, 2)]

    @property
    def has_result(self) -> bool:
        """Whether it printed a result so far."""
        return any(copier.has_result for copier in self._copiers)

    @property
    def in_line(self) -> bool:
        """Whether it ended within a line of standard output."""
        return self._copiers[0].in_line

    def wait(self) -> int:
        """Wait until it has ended and return its exit code, as shells give it: 128 + n after signal n."""
        code = self._process.wait()
        for copier in self._copiers:
            copier.join(GRACE)  # a process that it left behind may hold the pipes
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Ask it and all that it started to end, and kill what is still there after some seconds."""
        deadline = time.monotonic() + GRACE
        family = [self._process.pid, *_descendants(self._process.pid)]
        _signal(family, signal.SIGTERM)
        while time.monotonic() < deadline and any(map(_is_running, family)):
            time.sleep(0.05)
        _signal([pid for pid in family if _is_running(pid)], signal.SIGKILL)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, number)


def _stat(pid: int | str) -> tuple[str, int]:
    """State and parent of a process; of one that is gone, `X`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return fields[0], int(fields[1])


def _is_running(pid: int) -> bool:
    return _stat(pid)[0] not in {"X", "Z"}


def _descendants(root: int) -> list[int]:
    """Processes that a process started, and those that they started; none where there is no /proc."""
    try:
        parents = {int(name): _stat(name)[1] for name in os.listdir("/proc") if name.isdigit()}
    except OSError:
        return []
    found: list[int] = []
    level = {root}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found += level
    return found
