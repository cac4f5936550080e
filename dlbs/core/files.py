"""Files, and JSON that others wrote: the root directory, atomic writes, opens that neither follow links nor block on pipes, caches.

`json.loads` raises four kinds of errors on hostile text (`JSONDecodeError`, `ValueError` for a number of 5,000 digits, `RecursionError`,
`UnicodeDecodeError`), and accepts values that break later: half of a surrogate pair cannot be written to a file, and values nested 900
levels deep cannot be traversed. `load_json` does neither.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from benchmark_core.files import synced
from dlbs.core.errors import ConfigError, LogError, did_you_mean

_LONGEST_SOURCE = 64 << 20  # bytes
_TEMPORARY = r"(?s)\..{1,50}\.[0-9a-f]{12}\.tmp"  # as named by `_writing`
_ABANDONED = 86400.0  # seconds without a change after which the process that wrote a temporary file was killed
_CHECKSUM = 4  # bytes before the content of a cached file
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def create_file(path: str | os.PathLike[str], flags: int = os.O_WRONLY) -> int:
    """Create a file that must not exist yet, not even as a link, and return its descriptor.

    Raises:
        OSError: It exists or cannot be created.
    """
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = False, buffering: int = -1) -> IO[bytes]:
    """Open a regular file for reading.

    Log directories may contain files of other users: a named pipe would block forever, a device could be read endlessly, and a link
    could lead to any file of the reader.

    Args:
        path: The file.
        follow_links: Whether the path itself may be a symbolic link, as for a file that the user names.
        buffering: As for `open`.

    Raises:
        FileNotFoundError: The file does not exist.
        LogError: The file is not regular, or cannot be read.
    """
    return open(_descriptor(path, follow_links)[0], "rb", buffering)


def _descriptor(path: str | os.PathLike[str], follow_links: bool) -> tuple[int, int]:
    """Open a regular file as `open_regular` does: its descriptor and size."""
    try:
        descriptor = os.open(path, _READ if follow_links else _READ | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        if not follow_links and os.path.islink(path):
            raise LogError("is a symbolic link, which is not followed", where=str(path)) from None
        raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        is_directory = stat.S_ISDIR(status.st_mode)
        raise LogError(f"is not a regular file{', but a directory' if is_directory else ''}", where=str(path))
    return descriptor, status.st_size


def read_small(path: str | os.PathLike[str], limit: int, *, follow_links: bool = False) -> bytes | None:
    """Read a regular file with one system call; None if it is larger than the limit, or its size is changing.

    Raises:
        FileNotFoundError, LogError: As by `open_regular`.
        OSError: Reading fails.
    """
    descriptor, size = _descriptor(path, follow_links)
    try:
        content = os.read(descriptor, size + 1) if size <= limit else None
    finally:
        os.close(descriptor)
    return content if content is not None and len(content) == size else None


def read_regular(path: str | os.PathLike[str], limit: int, *, follow_links: bool = False) -> bytes:
    """Read all bytes of a regular file of limited size.

    Args:
        path: The file.
        limit: Maximum number of bytes.
        follow_links: As for `open_regular`.

    Raises:
        FileNotFoundError: The file does not exist.
        LogError: The file is not regular, cannot be read, or is larger.
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
    """Read a text file that a user wrote: regular, UTF-8, and at most 64 MiB.

    Raises:
        OSError: It is missing, unreadable, too large, or not a regular file.
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


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file that a user names.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return read_source(path, "strict")
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), hint=similar_files(path) or "check the path") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from None


def similar_files(path: str | os.PathLike[str]) -> str:
    """`did you mean 'plan.yaml'?` for names in the directory of a path that does not exist; may be empty."""
    directory, name = os.path.split(path)
    try:
        return did_you_mean(name, os.listdir(directory or "."))
    except OSError:
        return ""


def make_parent(path: str | os.PathLike[str]) -> None:
    """Create the parent directory of a file.

    Raises:
        ConfigError: It cannot be created.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", where=str(path)) from None


@functools.cache
def _own_groups() -> set[int]:
    """Groups that have no other members: root's, and this user's if it is named like the user, as most systems make it."""
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        if grp.getgrgid(os.getegid()).gr_name == pwd.getpwuid(os.geteuid()).pw_name:
            return {0, os.getegid()}
    return {0}


@functools.lru_cache(maxsize=256)
def foreign_hands(directory: str | os.PathLike[str]) -> str:
    """The part of a directory's path in which other users may exchange files, and how; empty if only this user and root may.

    In directories with the sticky bit, such as /tmp, everybody may create files, but not remove those of others.
    """
    place = Path(os.path.realpath(directory))
    for one in (place, *place.parents):
        with contextlib.suppress(OSError):
            status = os.stat(one)
            if status.st_uid not in {0, os.geteuid()}:
                return f"{one} belongs to another user"
            writers = stat.S_IWOTH if status.st_gid in _own_groups() else stat.S_IWGRP | stat.S_IWOTH
            if status.st_mode & writers and not status.st_mode & stat.S_ISVTX:
                return f"{one} can be written by other users"
    return ""


@contextmanager
def write_atomically(path: str | os.PathLike[str], *, follow: bool = True, sync: bool = True) -> Iterator[IO[str]]:
    """Write a text file that appears under its name only when it is complete; `.gz` is compressed.

    After an error, no temporary file remains and an existing file is unchanged.

    Args:
        path: The file.
        follow: For files that the user names: a link is kept and its target replaced; a pipe or a device, such as /dev/stdout, is
            written to. Without it, for DLBS's files in directories that others can write, anything but a regular file is an error.
        sync: Whether it outlives a power cut; without, a file that can be made again is written much faster.

    Raises:
        ConfigError: The file cannot be written.
    """
    with _writing(Path(path), follow, sync) as descriptor:
        stream: IO[str]
        if Path(path).suffix == ".gz":
            import gzip

            with open(descriptor, "wb") as compressed, gzip.open(compressed, "wt", encoding="utf-8") as stream:
                yield stream
        else:
            with open(descriptor, "w", encoding="utf-8") as stream:
                yield stream


def write_bytes(
    path: str | os.PathLike[str], data: bytes, *, follow: bool = False, sync: bool = True, private: bool = False
) -> None:
    """Write a file that appears under its name only when it is complete; arguments as for `write_atomically`.

    Args:
        private: Whether only this user may write to it, whatever the umask is.

    Raises:
        ConfigError: The file cannot be written.
    """
    with open_atomically(path, follow=follow, sync=sync) as stream:
        if private and (mode := os.fstat(stream.fileno()).st_mode) & 0o022:
            os.fchmod(stream.fileno(), stat.S_IMODE(mode) & ~0o022)
        stream.write(data)


@contextmanager
def open_atomically(path: str | os.PathLike[str], *, follow: bool = False, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name only when it is complete; arguments as for `write_atomically`.

    Raises:
        ConfigError: The file cannot be written.
    """
    with _writing(Path(path), follow, sync) as descriptor, open(descriptor, "wb") as stream:
        yield stream


def read_from_cache(path: Path, limit: int) -> bytes | None:
    """Read a file that `write_to_cache` wrote; None if it is missing, damaged, too large, or belongs to another user."""
    try:
        with open_regular(path) as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            content = stream.read(limit + _CHECKSUM)
    except (OSError, LogError):
        return None
    checksum, data = content[:_CHECKSUM], content[_CHECKSUM:]
    return data if data and zlib.crc32(data).to_bytes(_CHECKSUM, "big") == checksum else None


def write_to_cache(path: Path, data: bytes, *, most: int) -> None:
    """Write a file with a checksum in a cache directory, which is created if it is missing; failures are ignored.

    Args:
        path: The file.
        data: Its content.
        most: The number of files of that suffix to keep: the least recently written one is removed first, and what killed processes left.
    """
    with contextlib.suppress(OSError, ConfigError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_bytes(path, zlib.crc32(data).to_bytes(_CHECKSUM, "big") + data, sync=False, private=True)
        with os.scandir(path.parent) as entries:
            for entry in entries:
                if re.fullmatch(_TEMPORARY, entry.name):
                    _remove_if_abandoned(entry)
        for old in sorted(path.parent.glob(f"*{path.suffix}"), key=os.path.getmtime)[:-most]:
            old.unlink(missing_ok=True)


def _remove_if_abandoned(entry: os.DirEntry[str]) -> None:
    status = entry.stat(follow_symlinks=False)
    is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
    if is_ours and time.time() - status.st_mtime > _ABANDONED:
        os.unlink(entry.path)


@contextmanager
def _writing(path: Path, follow: bool, sync: bool) -> Iterator[int]:
    """Open a temporary file that replaces the named one at the end; the caller closes the descriptor.

    Its name is random, so that no other user can create a link there first.
    """
    try:
        mode = _mode(path, follow)
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            if not follow:
                raise ConfigError("is not a regular file and is not replaced", where=str(path))
            descriptor = os.open(
                path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )  # a pipe without a reader is an error
            os.set_blocking(descriptor, True)
            yield descriptor
            return
        target = Path(os.path.realpath(path)) if follow and path.is_symlink() else path
        if follow and target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        directory, name = os.path.split(target)
        beside = os.path.join(directory, f".{name[:50]}.{os.urandom(6).hex()}.tmp")  # at most 255 bytes in UTF-8
        try:
            yield create_file(beside)
            if sync:
                synced(beside)
            os.replace(beside, target)
            if sync:
                synced(directory or ".")
        except BaseException:
            with contextlib.suppress(OSError):  # not created, or the file system became read-only
                os.unlink(beside)
            raise
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", where=str(path)) from None


def _mode(path: Path, follow: bool) -> int:
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except OSError:  # it does not exist, or creating it will fail, too
        return stat.S_IFREG


def user_cache(name: str) -> Path:
    """`$XDG_CACHE_HOME/dlbs/NAME`, by default under `~/.cache`; a relative path in the variable is ignored, as XDG requires.

    Raises:
        RuntimeError: The user has no home directory.
    """
    directory = os.environ.get("XDG_CACHE_HOME", "")
    return Path(directory if os.path.isabs(directory) else Path.home() / ".cache") / "dlbs" / name


def dlbs_root(environ: Mapping[str, str] | None = None) -> Path:
    """The directory that contains `config/`, `scripts/` and `python/`: `$DLBS_ROOT`, the checkout, or the installed copy."""
    environ = os.environ if environ is None else environ
    if environ.get("DLBS_ROOT"):
        return Path(environ["DLBS_ROOT"])
    package = Path(__file__).resolve().parents[1]
    return package.parent if (package.parent / "config" / "base.yaml").is_file() else package / "shipped"


def write_all(descriptor: int, data: bytes) -> None:
    """Write bytes to an open file, all of them, without a buffer."""
    while data:
        data = data[os.write(descriptor, data) :]


MAX_DEPTH = 100  # levels of lists and objects
MAX_DIGITS = 4_000  # of an integer; Python rejects more than 4,300
_SURROGATES = frozenset(range(0xD800, 0xE000))
_OTHER_SURROGATES = _SURROGATES - set(range(0xDC80, 0xDD00))  # than those of bytes


class JsonError(ValueError):
    """A text is not JSON, or contains an unusable value.

    Attributes:
        what: The reason, in a few words.
        line: The line of the text, from 1.
    """

    def __init__(self, what: str, line: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


# An escaped backslash, a pair of surrogates, or half of one.
_ESCAPES = r"\\\\|\\ud[89ab]..\\ud[c-f]..|\\ud[89a-f].."


def dump_json(document: Any) -> str:
    """A document as indented JSON for programs, in ASCII.

    Bytes of arguments and file names that are not UTF-8 become U+FFFD: Python represents them by halves of surrogate pairs, which strict
    readers reject.
    """
    words = json.dumps(document, indent=1)
    if "\\ud" in words:
        words = re.sub(_ESCAPES, lambda found: "\\ufffd" if len(found[0]) == 6 else found[0], words)
    return words


def load_json(
    document: str | bytes | bytearray,
    *,
    object_pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    keep_bytes: bool = False,
    around: int = 0,
) -> Any:
    """Parse a JSON text.

    Half of a surrogate pair (`"\\ud800"`) becomes U+FFFD, the replacement character. NaN and Infinity are accepted, because benchmarks write them.

    Args:
        document: The text, with or without a byte-order mark; bytes are UTF-8.
        object_pairs: Makes an object from its pairs, for example to reject duplicate keys.
        keep_bytes: Whether to keep U+DC80 to U+DCFF, which represent bytes of arguments and file names that are not UTF-8 (PEP 383).
        around: Levels of the text around values, which may have `MAX_DEPTH` levels themselves.

    Raises:
        JsonError: It is not JSON, not UTF-8, nested more than `MAX_DEPTH` levels deep, or has a number of more than `MAX_DIGITS` digits.
    """
    source = (document if isinstance(document, str) else _decoded(document)).removeprefix("\ufeff")
    if object_pairs is not None:
        decoder = json.JSONDecoder(parse_int=_whole_number, object_pairs_hook=object_pairs)
    else:
        decoder = _DECODER_OF_SHORT_TEXTS if len(source) <= MAX_DIGITS else _DECODER
    try:
        value = decoder.decode(source)
    except json.JSONDecodeError as error:
        raise JsonError(error.msg if source.strip() else "it is empty", error.lineno) from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    # Two fast searches exclude deep nesting and surrogates for most texts.
    if source.count("[") + source.count("{") > MAX_DEPTH and depth_exceeds(value, MAX_DEPTH + around):
        raise JsonError(f"nested more than {MAX_DEPTH} levels deep")
    if "\\u" in source or not source.isascii():
        value = _without(_OTHER_SURROGATES if keep_bytes else _SURROGATES, value)
    return value


# orjson converts longer integers to floating-point numbers. In a text whose digits are 0, and what precedes a number is a comma:
_LONG_NUMBER = b"," + b"0" * 19
_ALIKE = bytes.maketrans(b"123456789[{:-+ \t\r\n", b"0" * 9 + b"," * 9)


def load_json_bytes(document: bytes, around: int = 0) -> Any:
    """Parse a JSON text in UTF-8 as `load_json` does, mostly several times as fast.

    Raises:
        JsonError: As for `load_json`.
    """
    is_shallow = document.count(b"[") + document.count(b"{") <= MAX_DEPTH
    if is_shallow and _LONG_NUMBER not in b"," + document.translate(_ALIKE):
        import orjson

        try:
            return orjson.loads(document)
        except orjson.JSONDecodeError:
            pass  # NaN, or half of a surrogate pair
    return load_json(document, around=around)


def _decoded(document: bytes | bytearray) -> str:
    try:
        return document.decode()
    except UnicodeDecodeError as error:
        raise JsonError("not UTF-8", 1 + document.count(b"\n", 0, error.start)) from None


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise JsonError(f"a number of {len(digits):,} digits")
    return int(digits)


# Making a decoder takes longer than parsing a line of a log, and a call for each whole number as long as all of the rest.
_DECODER = json.JSONDecoder(parse_int=_whole_number)
_DECODER_OF_SHORT_TEXTS = json.JSONDecoder()


def depth_exceeds(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested more than so many levels deep."""
    level = [value] if isinstance(value, (list, dict)) else []
    depth = 0
    while level and depth <= limit:
        depth += 1
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (list, dict))
        ]
    return depth > limit


def _without(letters: frozenset[int], value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "".join("\N{REPLACEMENT CHARACTER}" if ord(letter) in letters else letter for letter in value)
        return value
    if isinstance(value, list):
        return [_without(letters, item) for item in value]
    if isinstance(value, dict):
        return {_without(letters, key): _without(letters, item) for key, item in value.items()}
    return value
