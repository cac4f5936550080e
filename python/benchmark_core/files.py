"""Read untrusted files: only regular ones, up to a size limit. Write files that are complete whenever somebody reads them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file for reading, unbuffered; links are followed.

    Opening a named pipe would block, and reading a device might never end.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("is not a regular file")
    return open(descriptor, "rb", buffering=0)


def read_regular(path: str | os.PathLike[str], limit: int) -> bytearray:
    """Read all bytes of a regular file.

    Args:
        path: The file.
        limit: Maximum size in bytes.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: The file is larger than the limit.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise ValueError(f"the file has {size:,} bytes, more than the limit of {limit:,}")
        data = bytearray(size)
        read = 0
        # One call may return less than all: Linux reads at most 2 GiB per call.
        while read < size and (count := stream.readinto(memoryview(data)[read:])):  # type: ignore[attr-defined]
            read += count
        del data[read:]
        return data


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Write a text file beside its path, and rename it at the end: there is either the old file or the new one, also after a power cut.

    Raises:
        OSError: The file cannot be written.
    """
    beside = f"{os.fspath(path)}.part{os.getpid()}"
    try:
        with open(beside, "w", encoding="utf-8") as stream:
            yield stream
        synced(beside)
        os.replace(beside, path)
        synced(os.path.dirname(path) or ".")
    finally:
        if os.path.exists(beside):
            os.unlink(beside)


def synced(path: str | os.PathLike[str]) -> None:
    """Write a file, or the names in a directory, to its device; some file systems cannot.

    Raises:
        OSError: It cannot be opened, or writing fails.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EROFS}:
            raise
    finally:
        os.close(descriptor)


def line_of(path: str) -> str | None:
    """First line of a file of the kernel, in /proc or /sys; None without it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip()
    except OSError:
        return None
