"""Run a script as a process: start it, copy its output into the log, and end it with all its descendants."""

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

GRACE = 10.0  # seconds between TERM and KILL


class Script:
    """A running script whose output is copied into the log.

    Args:
        command: The command of the script.
        environment: Its environment; None for that of this process.
        pass_fds: File descriptors that it inherits.
        on_data: Called with lines that it hides in its output (`voir.smuggle`).

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
        """Whether it has printed a result."""
        return any(copier.has_result for copier in self._copiers)

    @property
    def in_line(self) -> bool:
        """Whether its standard output ended with an incomplete line."""
        return self._copiers[0].in_line

    def wait(self) -> int:
        """Wait until it has ended and return its exit code, as in shells: 128 + n after signal n."""
        code = self._process.wait()
        for copier in self._copiers:
            copier.join(GRACE)  # a remaining process may keep the pipes open
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Terminate it and all its descendants; kill those that remain after `GRACE` seconds."""
        deadline = time.monotonic() + GRACE
        family = [self._process.pid, *_descendants(self._process.pid)]
        _signal(family, signal.SIGTERM)
        while time.monotonic() < deadline and any(map(_is_running, family)):
            time.sleep(0.05)
        _signal([pid for pid in family if _is_running(pid)], signal.SIGKILL)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # ended since
            os.kill(pid, number)


def _stat(pid: int | str) -> tuple[str, int]:
    """State and parent of a process; the state of an ended one is `X`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return fields[0], int(fields[1])


def _is_running(pid: int) -> bool:
    return _stat(pid)[0] not in {"X", "Z"}


def _descendants(root: int) -> list[int]:
    """All descendants of a process; none without /proc."""
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
