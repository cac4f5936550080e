"""Start and measure one invocation of a command, and capture its output."""

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

_MOST_READ = 64 << 20  # bytes of an invocation's output that are searched for results
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit codes of shells


class Invocation(NamedTuple):
    """One run of the command: its exit code (128 + N after signal N), wall time in seconds, and resource usage."""

    code: int
    seconds: float
    usage: resource.struct_rusage


class CannotStartError(Exception):
    """The command cannot be started: the exit code of a shell in this case, and the reason."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Output:
    """The destination of one stream of the command: a file, because a full pipe would block the command."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()
        self.descriptor = self._file.fileno()

    def take(self) -> str:
        """The output since the last call; only the end of very long output."""
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
        CannotStartError: The program does not exist.
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

    posix_spawn shares memory with the child until it executes the command (vfork), so its time is independent of the size of this process.

    Args:
        path: The program.
        command: Its arguments, the first of which is its name.
        streams: Its standard input, output and error.

    Raises:
        CannotStartError: The kernel cannot start it.
    """
    files = [(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in enumerate(streams)]
    # Encode to bytes before the clock starts: encoding the environment takes a tenth of the time of `true`.
    words, environment = [os.fsencode(word) for word in command], dict(os.environb)
    begin = time.perf_counter()
    try:
        # Python ignores these signals; restore the default for the command.
        pid = os.posix_spawn(path, words, environment, file_actions=files, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        raise CannotStartError(_NOT_EXECUTABLE, f"{command[0]}: {error.strerror}") from None
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    return Invocation(code, seconds, usage)
