"""Files that a model in a container and its caller exchange: texts, JSON lines, temporary directories."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from dlbs.packs.jsonlines import read_jsonl_file, write_jsonl_file
from dlbs.packs.repro.types import TextType
from dlbs.packs.repro.values import flatten as joined

__all__ = ["TemporaryDirectory", "read_jsonl_file", "write_to_jsonl_file", "write_to_text_file"]


class TemporaryDirectory:
    """A directory that is removed at the end: `with TemporaryDirectory() as path`.

    Args:
        root: Its parent; by default that of temporary files.
        persist: Keep it.
    """

    def __init__(self, root: str | None = None, persist: bool = False) -> None:
        self.root, self.persist = root, persist
        self.path = ""

    def __enter__(self) -> str:
        self.path = tempfile.mkdtemp(prefix="dlbs-", dir=self.root)
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.persist:
            shutil.rmtree(self.path)


def write_to_text_file(items: Iterable[TextType], file_path: str, separator: str | None = None) -> None:
    """Write texts, one per line, and create the directory of the file if missing.

    Args:
        items: Texts, or lists of sentences.
        file_path: The file.
        separator: Separator of sentences; a space by default.
    """
    _make_directory_of(file_path)
    with open(file_path, "w", encoding="utf-8") as stream:
        for item in items:
            stream.write(joined(item, separator) + "\n")


def write_to_jsonl_file(
    items: Iterable[Any], key: str, file_path: str, flatten: bool = False, separator: str | None = None
) -> None:
    """Write a line `{key: item}` for each item, and create the directory of the file if missing.

    Args:
        items: Values that JSON can represent.
        key: The key of each line.
        file_path: The file.
        flatten: Join the sentences of each item.
        separator: Separator of sentences; a space by default.
    """
    _make_directory_of(file_path)
    write_jsonl_file(file_path, ({key: joined(item, separator) if flatten else item} for item in items))


def _make_directory_of(file: str) -> None:
    directory = os.path.dirname(file)
    if directory:
        os.makedirs(directory, exist_ok=True)
