"""Log of a run in a store: shown only if it is in a directory given by the user, and is the log that was added."""

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

_LARGEST = 256 << 20  # bytes of the largest log that is read
_MOST = 64 << 10  # bytes of output that are shown


def log_output(record: Record, directory: Path) -> tuple[str, str]:
    """Path of the log of a run, and the end of its ordinary output or the reason why it is not shown.

    The log paths in a store are not trusted: nothing outside the directory is read, no link is followed, and a file with other content than the
    added log is not shown.

    Args:
        record: The complete record of the run.
        directory: Directory of logs.
    """
    named = text(record.get("exp.log_file"))
    if not named:
        return "", "The store has no path of the log."
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
        return named, f"The log of this name in {directory} is of another run: it was replaced."
    return named, f"The log is not in {directory}; specify the directory of logs: dlbs serve --db URL DIR"


def _output(path: Path) -> str:
    if path.suffix == ".gz":
        return f"The log is compressed; to read it: zcat {path}"
    lines = read_regular(path, _LARGEST).decode("utf-8", "replace").splitlines()
    output = "\n".join(line for line in lines if not line.startswith("__"))
    return output[-_MOST:] or "The experiment printed nothing."
