"""Cache of the parsed configuration that comes with DLBS: parsing its YAML would be a quarter of the start of most commands."""

from __future__ import annotations

import contextlib
import logging
import marshal
import os
import sys
import zlib
from pathlib import Path

from dlbs.config.documents import Document, parse
from dlbs.errors import DlbsError
from dlbs.files import read_regular, user_cache, write_bytes

__all__ = ["parse_all"]

_FORMAT = f"dlbs 2 {sys.version_info[0]}.{sys.version_info[1]} {marshal.version}"  # increment the number for another content or parser
_LARGEST = 16 << 20  # bytes
_MOST = 8  # files: one for each directory with a configuration; the least recently written one is removed first
_CHECKSUM = 4  # bytes

_logger = logging.getLogger(__name__)

_Files = tuple[tuple[str, str], ...]  # names and texts


def parse_all(files: _Files) -> list[Document]:
    """Parse files of which each has a name and a text, or return what the same texts gave the last time.

    The cache is one file under `$XDG_CACHE_HOME/dlbs/config`, as private as `~/.cache`. It contains the texts themselves, so it is never
    outdated; one that is damaged or cannot be written is ignored.

    Raises:
        ConfigError: As by `documents.parse`.
    """
    try:
        path = user_cache("config") / f"{zlib.crc32(repr((_FORMAT, files[0][0])).encode()):08x}.marshal"
    except RuntimeError:  # a user without a home directory
        return [parse(*file) for file in files]
    documents = _read(path, files)
    if documents is None:
        documents = [parse(*file) for file in files]
        _write(path, files, documents)
    return documents


def _read(path: Path, files: _Files) -> list[Document] | None:
    try:
        content = read_regular(path, _LARGEST)
    except (OSError, DlbsError):
        return None
    data = content[_CHECKSUM:]
    if zlib.crc32(data).to_bytes(_CHECKSUM, "big") != content[:_CHECKSUM]:
        _logger.debug("ignoring %s: damaged", path)
        return None
    form, of_files, parsed = marshal.loads(data)
    return [Document(*document) for document in parsed] if (form, of_files) == (_FORMAT, files) else None


def _write(path: Path, files: _Files, documents: list[Document]) -> None:
    data = marshal.dumps((_FORMAT, files, [(found.path, found.data, found.lines) for found in documents]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_bytes(path, zlib.crc32(data).to_bytes(_CHECKSUM, "big") + data)
        _make_room(path.parent)
    except (OSError, DlbsError) as error:
        _logger.debug("cannot write %s: %s", path, error)


def _make_room(directory: Path) -> None:
    for path in sorted(directory.glob("*.marshal"), key=os.path.getmtime)[:-_MOST]:
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            path.unlink()
