"""The logs in a file: itself, unpacked if it is compressed, or those in an archive. Nothing is unpacked to disk.

A small file can unpack to any size, so what comes out of it is counted.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from typing import IO

from dlbs.errors import LogError
from dlbs.files import open_regular
from dlbs.run.planfile import PLAN_NAME

__all__ = ["ARCHIVE_ENDINGS", "LOG_ENDINGS", "Unpacked", "log_streams", "unpacked"]

LOG_ENDINGS = (".log", ".log.gz", ".log.part")
ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar")
_UNPACKED = 1 << 30  # bytes that any file may unpack to
_RATIO = 100  # bytes for each byte of a larger one; logs are compressed by a factor of 10 to 20, and zeros by 1,000
_MOST_LOGS = 100_000  # in an archive
_LONGEST_READ = 64 << 20  # bytes; what an archive says of the length of its headers is not trusted
_GZIP = b"\x1f\x8b"


class Unpacked(io.RawIOBase):
    """A stream that ends with an error when too much comes out of it.

    Args:
        stream: Is read.
        limit: The most bytes.

    Raises:
        LogError: From `read` and `readinto`: there are more.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, never more than 64 MiB; none at the end."""
        if size > _LONGEST_READ:
            raise LogError(f"it asks for {size:,} bytes at once, so it is damaged")
        block = self._stream.read(_LONGEST_READ if size < 0 else size)
        self._left -= len(block)
        if self._left < 0:
            raise LogError(f"it unpacks to more than {self._limit:,} bytes")
        return block

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        block = self.read(min(len(buffer), _LONGEST_READ))
        buffer[: len(block)] = block
        return len(block)


def unpacked(stream: IO[bytes], size: int) -> IO[bytes]:
    """What is in a gzip stream of a size: at most 1 GiB or, if that is more, 100 times the size."""
    return Unpacked(gzip.GzipFile(fileobj=stream), _limit(size))  # type: ignore[return-value, arg-type]


def _limit(size: int) -> int:
    return max(_UNPACKED, _RATIO * size)


def log_streams(path: str, *, follow_links: bool) -> Iterator[tuple[str, IO[bytes]]]:
    """The logs in a file with their names, and in an archive the plan files beside them, one after the other: each stream is read before the next one is asked for.

    Args:
        path: The file.
        follow_links: Whether it may be a symbolic link: one that the user names may, one that lies in a log directory may not.

    Raises:
        LogError: It is not a regular file, cannot be read, or unpacks to too much.
        OSError, EOFError, ValueError, tarfile.TarError, zlib.error: It is damaged.
    """
    with open_regular(path, follow_links=follow_links, buffering=0) as stream:
        if path.endswith(ARCHIVE_ENDINGS):
            packed = stream.read(len(_GZIP)) == _GZIP
            stream.seek(0)
            inside = unpacked(stream, _size(stream)) if packed else Unpacked(stream, _limit(_size(stream)))
            yield from _in_archive(path, inside)  # type: ignore[arg-type]
        elif path.endswith(".gz"):
            yield path, unpacked(stream, _size(stream))
        else:
            yield path, stream


def _size(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _in_archive(path: str, stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    count = 0
    # As a stream: nothing is looked for backwards, so each byte is unpacked and counted once.
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it remembers each of millions
            # Only files: a link in an archive may name a file outside of it, and a device is none at all.
            is_plan = os.path.basename(member.name) == PLAN_NAME
            if not member.isreg() or member.issparse() or not (is_plan or member.name.endswith(LOG_ENDINGS)):
                continue
            count += 1
            if count > _MOST_LOGS:
                raise LogError(f"it holds more than {_MOST_LOGS:,} logs")
            inside = archive.extractfile(member)
            if inside is not None:
                yield f"{path}:{member.name}", unpacked(inside, member.size) if member.name.endswith(".gz") else inside
