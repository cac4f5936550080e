"""Failed experiments on the page: the reason, the end of the log, the command that repeats it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence

from dlbs.errors import LogError
from dlbs.experiment import describe
from dlbs.files import open_regular
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import status_of
from dlbs.text import text

__all__ = ["BAD", "failures_of", "rerun_command"]

BAD = frozenset({"failure", "timeout", "cancelled", "unfinished"})  # statuses
_TAIL_LINES, _TAIL_BYTES = 30, 16_384
_MOST_FAILURES = 200


def failures_of(
    records: Sequence[Record], readable: Collection[str], names: Sequence[str] = ()
) -> list[dict[str, str]]:
    """What the page shows of each failed experiment.

    Args:
        records: The experiments.
        readable: Logs whose ends may be shown.
        names: Parameters that tell experiments apart.
    """
    failures: list[dict[str, str]] = []
    for record in records:
        status = status_of(record)
        if status not in BAD or len(failures) == _MOST_FAILURES:
            continue
        log = text(record.get("exp.log_file"))
        failures.append(
            {
                "status": status,
                "name": describe(record, names, whole=True) or log,
                "message": text(record.get("exp.status_msg")),
                "command": rerun_command(record),
                "tail": _tail_of(log)
                if log in readable
                else "The log was not read for this page: make it from the logs.",
            }
        )
    return failures


def rerun_command(record: Record) -> str:
    """The command that repeats an experiment; empty if its log is unknown."""
    log = text(record.get("exp.log_file"))
    return f"dlbs rerun {shlex.quote(log.removesuffix('.part'))}" if log else ""


def _tail_of(log: str) -> str:
    """The last lines of ordinary output in a log, at most 30."""
    try:
        with open_regular(log, follow_links=True) as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            lines = stream.read(_TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"The log cannot be read: {error.strerror}"
    except LogError as error:
        return f"The log {error.what}"
    output = [line for line in lines if not line.startswith("__")]
    return "\n".join(output[-_TAIL_LINES:]) or "The experiment printed nothing."
