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
from dlbs.files import open_regular, user_cache, write_to_cache
from dlbs.version import __version__

__all__ = ["parse_all"]

# Increment the first number for another content or parser.
_FORMAT = f"dlbs 1 {__version__} {sys.version_info[0]}.{sys.version_info[1]} {marshal.version}"
_LARGEST = 16 << 20  # bytes
_MOST = 8  # files: one for each directory with a configuration; the least recently written one is removed first
_CHECKSUM = 4  # bytes

_logger = logging.getLogger(__name__)

_Files = tuple[tuple[str, str], ...]  # names and texts


def parse_all(files: _Files) -> list[Document]:
    """Parse files of which each has a name and a text, or return what the same texts gave the last time.

    The cache is one file under `$XDG_CACHE_HOME/dlbs/config`. It contains the texts themselves, so it is never outdated. One that is
    damaged, cannot be written, or belongs to another user is ignored: the configuration determines what is run.

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
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_uid != os.geteuid():
                raise ValueError("belongs to another user")
            content = stream.read(_LARGEST)
        checksum, data = content[:_CHECKSUM], content[_CHECKSUM:]
        if zlib.crc32(data).to_bytes(_CHECKSUM, "big") != checksum:
            raise ValueError("damaged")
        form, of_files, parsed = marshal.loads(data)
        return [Document(*document) for document in parsed] if (form, of_files) == (_FORMAT, files) else None
    except FileNotFoundError:
        return None
    except (OSError, DlbsError, EOFError, TypeError, ValueError) as error:
        _logger.debug("ignoring %s: %s", path, error)
        return None


def _write(path: Path, files: _Files, documents: list[Document]) -> None:
    data = marshal.dumps((_FORMAT, files, [(found.path, found.data, found.lines) for found in documents]))
    try:
        write_to_cache(path, zlib.crc32(data).to_bytes(_CHECKSUM, "big") + data)
        _make_room(path.parent)
    except (OSError, DlbsError) as error:
        _logger.debug("cannot write %s: %s", path, error)


def _make_room(directory: Path) -> None:
    for path in sorted(directory.glob("*.marshal"), key=os.path.getmtime)[:-_MOST]:
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            path.unlink()
