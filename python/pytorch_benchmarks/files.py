"""Read files that strangers may have made: regular ones only, and no more bytes than they may have."""

from __future__ import annotations

import os
import stat
from typing import IO

__all__ = ["open_regular", "read_regular"]


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file for reading, without a buffer; links to one are followed.

    A named pipe would block for ever, and a device could be read without end.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("is not a regular file")
    return open(descriptor, "rb", buffering=0)


def read_regular(path: str | os.PathLike[str], limit: int) -> bytearray:
    """All bytes of a regular file.

    Args:
        path: The file.
        limit: The most bytes that it may have.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: It is larger than the limit.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise ValueError(f"the file has {size:,} bytes, more than the {limit:,} that are read")
        data = bytearray(size)
        read = 0
        # One call may return less than all: Linux reads 2 GiB at a time at most.
        while read < size and (count := stream.readinto(memoryview(data)[read:])):  # type: ignore[attr-defined]
            read += count
        del data[read:]
        return data
