"""Open the logs in a file: plain, compressed or in an archive. Nothing is unpacked to disk.

A small file can unpack to any size, so the unpacked bytes are limited.
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
_RATIO = 100  # unpacked bytes per byte of a larger file; logs compress by a factor of 10 to 20, zeros by 1,000
_MOST_LOGS = 100_000  # in an archive
_LONGEST_READ = 64 << 20  # bytes; the header lengths in an archive are not trusted
_GZIP = b"\x1f\x8b"


class Unpacked(io.RawIOBase):
    """A stream that raises an error if it contains too many bytes.

    Args:
        stream: The stream to read.
        limit: Largest number of bytes.

    Raises:
        LogError: From `read` and `readinto`: the limit is exceeded.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, never more than 64 MiB; none at the end."""
        if size > _LONGEST_READ:
            raise LogError(f"damaged: a header claims {size:,} bytes")
        block = self._stream.read(_LONGEST_READ if size < 0 else size)
        self._left -= len(block)
        if self._left < 0:
            raise LogError(f"unpacks to more than {self._limit:,} bytes")
        return block

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        block = self.read(min(len(buffer), _LONGEST_READ))
        buffer[: len(block)] = block
        return len(block)


def unpacked(stream: IO[bytes], size: int) -> IO[bytes]:
    """Unpack a gzip stream of a given size: at most 1 GiB or 100 times the size, whichever is more."""
    return Unpacked(gzip.GzipFile(fileobj=stream), _limit(size))  # type: ignore[return-value, arg-type]


def _limit(size: int) -> int:
    return max(_UNPACKED, _RATIO * size)


def log_streams(path: str, *, follow_links: bool) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the logs of a file with their names, and the plan files of an archive; each stream must be read before the next one is requested.

    Args:
        path: The file.
        follow_links: Whether it may be a symbolic link: allowed for paths given by the user, not for files in a log directory.

    Raises:
        LogError: The file is not a regular file, cannot be read, or unpacks to too many bytes.
        OSError, EOFError, ValueError, tarfile.TarError, zlib.error: The file is damaged.
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
    # As a stream: without seeking, so each byte is unpacked and counted once.
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps every member, possibly millions
            # Only regular files: a link in an archive may point outside of it, and a device is not a log.
            is_plan = os.path.basename(member.name) == PLAN_NAME
            if not member.isreg() or member.issparse() or not (is_plan or member.name.endswith(LOG_ENDINGS)):
                continue
            count += 1
            if count > _MOST_LOGS:
                raise LogError(f"contains more than {_MOST_LOGS:,} logs")
            inside = archive.extractfile(member)
            if inside is not None:
                yield f"{path}:{member.name}", unpacked(inside, member.size) if member.name.endswith(".gz") else inside
