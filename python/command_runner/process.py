"""One invocation of a command: how it is started, measured, and where its output goes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from typing import IO, NamedTuple

__all__ = ["CannotStartError", "Invocation", "Output", "executable", "invoke"]

_MOST_READ = 64 << 20  # bytes of an invocation's output in which results are looked for
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit codes, as shells give them


class Invocation(NamedTuple):
    """One run of the command: its exit code (128 + N after signal N), wall time in seconds, and what the kernel says it used."""

    code: int
    seconds: float
    usage: resource.struct_rusage


class CannotStartError(Exception):
    """The command cannot be started: the exit code that a shell would give, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Output:
    """Where one stream of the command goes: a file, because a pipe that fills up would stop the command."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()
        self.descriptor = self._file.fileno()

    def take(self) -> str:
        """What was written since the last call; of very long output the end."""
        size = os.fstat(self.descriptor).st_size
        if not size:
            return ""
        start, parts = max(0, size - _MOST_READ), []
        while start < size:
            parts.append(os.pread(self.descriptor, size - start, start))
            start += len(parts[-1]) or size
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return b"".join(parts).decode("utf-8", "replace")


def executable(command: Sequence[str]) -> str:
    """The path of the program that a command starts.

    Raises:
        CannotStartError: There is no such program.
    """
    found = shutil.which(command[0])
    if found:
        return found
    there = os.path.exists(command[0]) and os.sep in command[0]
    if there:
        raise CannotStartError(_NOT_EXECUTABLE, f"{command[0]} is not executable")
    raise CannotStartError(_NOT_FOUND, f"program {command[0]!r} not found")


def invoke(path: str, command: Sequence[str], streams: tuple[int, int, int]) -> Invocation:
    """Run a command once and measure it.

    posix_spawn shares our memory with the child until that has become the command (vfork), so the time does not grow with this process.

    Args:
        path: The program.
        command: Its arguments, the first of which is its name.
        streams: Its standard input, output and error.

    Raises:
        CannotStartError: The kernel refuses to start it.
    """
    files = [(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in enumerate(streams)]
    # Bytes, made before the clock starts: encoding the environment takes a tenth of the time that `true` does.
    words, environment = [os.fsencode(word) for word in command], dict(os.environb)
    begin = time.perf_counter()
    try:
        # Python ignores these; the command gets the usual behaviour back.
        pid = os.posix_spawn(path, words, environment, file_actions=files, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        raise CannotStartError(_NOT_EXECUTABLE, f"{command[0]}: {error.strerror}") from None
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    return Invocation(code, seconds, usage)
