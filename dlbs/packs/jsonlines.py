"""JSON lines: one object per line, the exchange format with containers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from dlbs.errors import ConfigError, LogError
from dlbs.files import open_regular, write_atomically
from dlbs.jsonio import JsonError, load_json

__all__ = ["iterate_jsonl_files", "read_jsonl_file", "read_output_file", "write_jsonl_file"]

_LONGEST_LINE = 64 << 20  # bytes
_LARGEST_OUTPUT = 512 << 20  # bytes that a container may write for a batch


def iterate_jsonl_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Any]:
    """The values in files that the user names, line by line; empty lines are skipped.

    Raises:
        LogError: A file cannot be read, or a line is not JSON or longer than 64 MiB.
    """
    for path in paths:
        try:
            with Path(path).open("rb") as stream:
                yield from _values(stream, path)
        except OSError as error:
            raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None


def read_jsonl_file(path: str | os.PathLike[str], single_line: bool = False) -> list[Any]:
    """All values in a file that the user names.

    Args:
        path: The file.
        single_line: The values are concatenated without newlines, as some programs write them.

    Raises:
        LogError: As `iterate_jsonl_files`.
    """
    return _concatenated_values(path) if single_line else list(iterate_jsonl_files([path]))


def _concatenated_values(path: str | os.PathLike[str]) -> list[Any]:
    try:
        with Path(path).open(encoding="utf-8") as stream:
            text = stream.read(_LONGEST_LINE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LogError(f"cannot be read: {reason}", where=str(path)) from None
    if len(text) > _LONGEST_LINE:
        raise LogError(f"is longer than {_LONGEST_LINE:,} characters", where=str(path))
    values = []
    decoder, begin = json.JSONDecoder(), 0
    while begin < len(text):
        if text[begin].isspace():
            begin += 1
            continue
        try:
            _, end = decoder.raw_decode(text, begin)
            values.append(load_json(text[begin:end]))
        except (ValueError, RecursionError) as error:
            raise LogError(f"not JSON ({error}): {text[begin : begin + 80]!r}", where=str(path)) from None
        begin = end
    return values


def read_output_file(path: str | os.PathLike[str], expected: int) -> list[Any]:
    """The values in a file that a container wrote: a regular file, not a link, read only as far as expected.

    Args:
        path: The file.
        expected: Expected number of values.

    Returns:
        The values, at most `expected` + 1.

    Raises:
        LogError: It is missing, not a regular file, larger than 512 MiB, or a line is not JSON or longer than 64 MiB.
    """
    values: list[Any] = []
    try:
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST_OUTPUT:
                raise LogError(f"is larger than {_LARGEST_OUTPUT:,} bytes", where=str(path))
            for value in _values(stream, path):
                values.append(value)
                if len(values) > expected:
                    break
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return values


def _values(stream: IO[bytes], path: str | os.PathLike[str]) -> Iterator[Any]:
    number = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise LogError(f"a line is longer than {_LONGEST_LINE:,} bytes", where=f"{path}:{number}")
        if line.strip():
            try:
                yield load_json(line)
            except JsonError as error:
                start = line[:80].decode("utf-8", "replace").strip()
                raise LogError(f"not JSON ({error.what}): {start!r}", where=f"{path}:{number}") from None


def write_jsonl_file(path: str | os.PathLike[str], values: Iterable[Any]) -> int:
    """Write values, one per line, and return their number. The file is written atomically.

    Raises:
        ConfigError: It cannot be written, or a value cannot be represented in JSON.
    """
    count = 0
    with write_atomically(path) as stream:
        for value in values:
            count += 1
            try:
                line = json.dumps(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise ConfigError(f"value {count} cannot be written as JSON: {error}", where=str(path)) from None
            stream.write(line + "\n")
    return count
