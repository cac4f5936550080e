"""Files: where those of DLBS are, atomic writes, and opens that follow no link and wait for no pipe."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dlbs.errors import ConfigError, LogError

__all__ = [
    "create_file",
    "dlbs_root",
    "make_parent",
    "open_regular",
    "read_regular",
    "read_source",
    "write_atomically",
    "write_bytes",
]

_LONGEST_SOURCE = 64 << 20  # bytes


def create_file(path: str | os.PathLike[str], flags: int = os.O_WRONLY) -> int:
    """Create a file that must not exist yet, not even as a link, and return its descriptor.

    Raises:
        OSError: It exists or cannot be created.
    """
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = False, buffering: int = -1) -> IO[bytes]:
    """Open a regular file for reading.

    Directories of logs may hold what strangers put there: a named pipe would block for ever, a device could be read without end, a
    link could lead to any file of the reader.

    Args:
        path: The file.
        follow_links: Whether the path itself may be a symbolic link, as for a file that the user names.
        buffering: As for `open`.

    Raises:
        FileNotFoundError: There is no such file.
        LogError: It is not a regular file, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        if not follow_links and os.path.islink(path):
            raise LogError("is a symbolic link, which is not followed", where=str(path)) from None
        raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LogError("is not a regular file", where=str(path))
    return open(descriptor, "rb", buffering)


def read_regular(path: str | os.PathLike[str], limit: int, *, follow_links: bool = False) -> bytes:
    """All bytes of a regular file that has no more than a limit.

    Args:
        path: The file.
        limit: The most bytes that it may have.
        follow_links: As for `open_regular`.

    Raises:
        FileNotFoundError: There is no such file.
        LogError: It is not a regular file, cannot be read, or is larger.
    """
    with open_regular(path, follow_links=follow_links) as stream:
        try:
            content = stream.read(limit + 1)
        except OSError as error:
            raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(content) > limit:
        raise LogError(f"is larger than {limit:,} bytes", where=str(path))
    return content


def read_source(path: str | os.PathLike[str], errors: str = "replace") -> str:
    """The text of a file that somebody wrote by hand: regular, UTF-8, and of 64 MiB at most.

    Raises:
        OSError: It is missing, cannot be read, or is something else.
        UnicodeDecodeError: It is not UTF-8 (with `errors="strict"`).
    """
    try:
        with open_regular(path, follow_links=True) as stream:
            content = stream.read(_LONGEST_SOURCE + 1)
    except LogError as error:
        raise OSError(errno.EINVAL, error.what, str(path)) from None
    if len(content) > _LONGEST_SOURCE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content.decode("utf-8", errors).replace("\r\n", "\n")


def make_parent(path: str | os.PathLike[str]) -> None:
    """Make the directory of a file that is going to be written.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", where=str(path)) from None


@contextmanager
def write_atomically(path: str | os.PathLike[str], *, follow: bool = True) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when it is complete; `.gz` is compressed.

    On an error nothing is left behind and an older file of that name stays as it was.

    Args:
        path: The file.
        follow: For files that the user names: a link stays, and the file that it leads to is replaced; a pipe or a device, such as
            /dev/stdout, is written to. Files of ours in directories to which others may write are regular files or an error.

    Raises:
        ConfigError: The file cannot be written.
    """
    with _writing(Path(path), follow) as descriptor:
        stream: IO[str]
        if Path(path).suffix == ".gz":
            with open(descriptor, "wb") as compressed, gzip.open(compressed, "wt", encoding="utf-8") as stream:
                yield stream
        else:
            with open(descriptor, "w", encoding="utf-8") as stream:
                yield stream


def write_bytes(path: str | os.PathLike[str], data: bytes, *, follow: bool = False) -> None:
    """Write a file that appears under its name only when it is complete; arguments as for `write_atomically`.

    Raises:
        ConfigError: The file cannot be written.
    """
    with _writing(Path(path), follow) as descriptor, open(descriptor, "wb") as stream:
        stream.write(data)


@contextmanager
def _writing(path: Path, follow: bool) -> Iterator[int]:
    """The descriptor of a file, which replaces the one of this name at the end; the caller closes it.

    Until then its name cannot be guessed, so nobody can put a link there first.
    """
    try:
        exists = path.exists() if follow else os.path.lexists(path)
        mode = (path.stat() if follow else path.lstat()).st_mode if exists else stat.S_IFREG
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            if not follow:
                raise ConfigError("is not a regular file, so it is not replaced", where=str(path))
            descriptor = os.open(
                path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )  # a pipe without a reader is an error
            os.set_blocking(descriptor, True)
            yield descriptor
            return
        target = Path(os.path.realpath(path)) if follow and path.is_symlink() else path
        if follow and target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}.tmp")
        try:
            yield create_file(beside)
            os.replace(beside, target)
        finally:
            with contextlib.suppress(OSError):  # it was renamed, or the file system has become read-only
                beside.unlink()
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", where=str(path)) from None


def dlbs_root(environ: Mapping[str, str] | None = None) -> Path:
    """The directory that holds `config/`, `scripts/` and `python/`: `$DLBS_ROOT`, the checkout, or the installed copy."""
    environ = os.environ if environ is None else environ
    if environ.get("DLBS_ROOT"):
        return Path(environ["DLBS_ROOT"])
    package = Path(__file__).resolve().parent
    return package.parent if (package.parent / "config" / "base.yaml").is_file() else package / "shipped"
