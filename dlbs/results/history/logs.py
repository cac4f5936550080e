"""The log behind a run of a store: shown only if it lies in a directory that the user named, and is the very log that was added."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from dlbs.errors import LogError
from dlbs.files import read_regular
from dlbs.results.read.digest import digest_of
from dlbs.results.read.logfiles import read_file
from dlbs.results.read.onelog import Record
from dlbs.text import text

__all__ = ["log_output"]

_LARGEST = 256 << 20  # bytes of a log that is looked at
_MOST = 64 << 10  # bytes of output that are shown


def log_output(record: Record, directory: Path) -> tuple[str, str]:
    """Where the log of a run lies, and the end of its ordinary output, or why it is not shown.

    What a store says of the place of a log is not trusted: nothing outside the directory is read, no link is followed, and a file whose content is
    not what was added is not shown.

    Args:
        record: The whole record of the run.
        directory: Where logs may lie.
    """
    named = text(record.get("exp.log_file"))
    if not named:
        return "", "The store does not say where the log is."
    parts = [part for part in PurePosixPath(named).parts if part not in {"/", "..", "."}]
    root = Path(os.path.realpath(directory))
    wanted = digest_of(record)
    is_other = False
    for count in range(1, len(parts) + 1):
        path = root.joinpath(*parts[-count:])
        if Path(os.path.realpath(path)) != path or not path.name.removesuffix(".gz").endswith(".log"):
            continue
        try:
            records, _ = read_file(str(path))
            if len(records) == 1 and digest_of(records[0]) == wanted:
                return str(path), _output(path)
        except (LogError, OSError):
            continue
        is_other |= bool(records)
    if is_other:
        return named, f"A log of this name is in {directory}, but of another run: it was replaced since."
    return named, f"It is not in {directory}: dlbs serve --db URL DIR says where logs are."


def _output(path: Path) -> str:
    if path.suffix == ".gz":
        return f"It is compressed: zcat {path}"
    lines = read_regular(path, _LARGEST).decode("utf-8", "replace").splitlines()
    output = "\n".join(line for line in lines if not line.startswith("__"))
    return output[-_MOST:] or "The experiment printed nothing."
