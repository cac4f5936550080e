"""JSON lines: one object a line, the language between a container and who asks it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dlbs.errors import LogError
from dlbs.files import write_atomically
from dlbs.jsonio import JsonError, load_json

__all__ = ["iterate_jsonl_files", "read_jsonl_file", "write_jsonl_file"]


def iterate_jsonl_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Any]:
    """The values in files, line after line; empty lines are passed over.

    Raises:
        LogError: A file cannot be read, or a line is no JSON.
    """
    for path in paths:
        try:
            with Path(path).open(encoding="utf-8") as stream:
                for number, line in enumerate(stream, start=1):
                    if not line.strip():
                        continue
                    try:
                        yield load_json(line)
                    except JsonError:
                        raise LogError(f"not JSON: {line.strip()[:80]!r}", where=f"{path}:{number}") from None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise LogError(f"cannot be read: {reason}", where=str(path)) from None


def read_jsonl_file(path: str | os.PathLike[str]) -> list[Any]:
    """All values in a file.

    Raises:
        LogError: It cannot be read, or a line is no JSON.
    """
    return list(iterate_jsonl_files([path]))


def write_jsonl_file(path: str | os.PathLike[str], values: Iterable[Any]) -> int:
    """Write values, one a line, and return how many there were. The file appears when it is complete.

    Raises:
        ConfigError: It cannot be written.
    """
    count = 0
    with write_atomically(path) as stream:
        for value in values:
            stream.write(json.dumps(value) + "\n")
            count += 1
    return count
