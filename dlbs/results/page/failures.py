"""Failed experiments on the page, grouped by reason: labels, log tails, and commands that repeat them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from typing import Any

from dlbs.errors import LogError
from dlbs.experiment import describe
from dlbs.files import open_regular
from dlbs.results.page.columns import shortened
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import status_of
from dlbs.text import text

__all__ = ["BAD", "failures_of", "reason_of", "rerun_command"]

BAD = frozenset({"failure", "timeout", "cancelled", "unfinished"})  # statuses
_TAIL_LINES, _TAIL_BYTES = 30, 16_384
_MOST_REASONS = 100
_MOST_SHOWN = 3  # experiments per reason with log tails; the table has all of them
_MOST_TAILS = 512 << 10  # characters of all log tails


def failures_of(
    records: Sequence[Record], readable: Collection[str], names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Group failed experiments by reason, most frequent first.

    Args:
        records: The experiments.
        readable: Logs that may be quoted.
        names: Parameters that distinguish experiments.

    Returns:
        For each reason its text (as in the page's data), status, message, number of experiments, and some of them: name, command, log tail.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        if status_of(record) in BAD:
            found.setdefault(reason_of(record), []).append(record)
    left = _MOST_TAILS
    failures = []
    for reason, group in sorted(found.items(), key=lambda item: -len(item[1]))[:_MOST_REASONS]:
        examples = []
        for record in group[:_MOST_SHOWN]:
            log = text(record.get("exp.log_file"))
            if log not in readable:
                tail = "The log was not read for this page; create the page from logs."
            elif left <= 0:
                tail = "See the log."
            else:
                tail = _tail_of(log)
                left -= len(tail)
            name = describe(record, names, whole=True) or log
            examples.append({"name": name, "command": rerun_command(record), "tail": tail})
        message = text(group[0].get("exp.status_msg"))
        failures.append(
            {
                "reason": reason,
                "status": status_of(group[0]),
                "message": message,
                "count": len(group),
                "shown": examples,
            }
        )
    return failures


def reason_of(record: Record) -> str:
    """Status and message of an experiment, as in the page's data: `failure: exit code 1`."""
    return shortened(": ".join(filter(None, [status_of(record), text(record.get("exp.status_msg"))])))


def rerun_command(record: Record) -> str:
    """Command that repeats an experiment; empty if its log is unknown."""
    log = text(record.get("exp.log_file"))
    return f"dlbs rerun {shlex.quote(log.removesuffix('.part'))}" if log else ""


def _tail_of(log: str) -> str:
    """Last lines of ordinary output in a log, at most 30."""
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
