"""Top and bottom of the page of results: tiles, machines, where it was measured, and failed experiments by reason."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from benchmark_core.log import STATUSES
from benchmark_core.text import short_number
from dlbs.core.errors import LogError
from dlbs.core.experiment import TITLES, describe
from dlbs.core.files import open_regular
from dlbs.core.text import counted, duration, finite, text
from dlbs.results.keys import key_title, prefixed, unit_of
from dlbs.results.page.assets import shortened
from dlbs.results.runs import Record, Runs, order_of, status_of
from dlbs.results.statistics.compare import is_fact

BAD = frozenset({"failure", "timeout", "cancelled", "unfinished"})  # statuses
_TAIL_LINES, _TAIL_BYTES = 30, 16_384
_MOST_REASONS = 100
_MOST_SHOWN = 3  # experiments per reason with log tails; the table has all of them
_MOST_TAILS = 512 << 10  # characters of all log tails


def failures_of(runs: Runs, readable: Collection[str], names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Group failed experiments by reason, most frequent first.

    Args:
        runs: The experiments.
        readable: Logs that may be quoted.
        names: Parameters that distinguish experiments.

    Returns:
        For each reason its text (as in the page's data), status, message, number of experiments, and some of them: name, command, log tail.
    """
    found: dict[str, list[Record]] = {}
    bad = runs.where([status in BAD for status in runs.statuses])
    for run, status in zip(bad, bad.statuses, strict=True):
        found.setdefault(reason_of(status, run.get("exp.status_msg")), []).append(run)
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


def reason_of(status: str, message: Any) -> str:
    """Status and message of an experiment, as in the page's data: `failure: exit code 1`."""
    return shortened(": ".join(filter(None, [status, text(message)])))


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


_MOST_ROWS, _MOST_NAMED = 50, 3
_NAMES = ("exp.env.host", "exp.device_title", "exp.framework", "exp.framework_version")


def where_measured(runs: Runs) -> dict[str, Any]:
    """Rows of host, device, software, workload, experiments, succeeded, doubtful, failed, time; and the number of further rows.

    Experiments that failed before they detected their machine or device have a separate row.
    """
    found = sorted(runs.group(_NAMES).values(), key=lambda group: -len(group))
    return {"rows": [_row(group) for group in found[:_MOST_ROWS]], "more": max(0, len(found) - _MOST_ROWS)}


def _row(group: Runs) -> dict[str, Any]:
    first = group[0]
    statuses = group.statuses
    framework = text(first.get("exp.framework_title") or first.get("exp.framework"))
    seconds = sum(filter(None, group.numbers("exp.seconds")))
    return {
        "host": text(first.get("exp.env.host")) or "unknown",
        "device": text(first.get("exp.device_title")) or text(first.get("exp.device_type")) or "unknown",
        "software": " ".join(filter(None, [framework, text(first.get("exp.framework_version"))])) or "unknown",
        "what": _what(group),
        "count": len(group),
        "ok": statuses.count("ok"),
        "doubtful": sum(map(bool, group.ok.doubts)),
        "failed": sum(status in BAD for status in statuses),
        "time": duration(seconds) if seconds else "–",
    }


def _what(group: Runs) -> str:
    """Models by name, or their number; then phases."""
    titles = list(filter(None, dict.fromkeys(group.each(TITLES[:2], _title))))
    words = ", ".join(titles) if len(titles) <= _MOST_NAMED else counted(len(titles), "model")
    phases = dict.fromkeys(text(phase) for phase in group.distinct("exp.phase") if phase)
    return ", ".join(filter(None, [words, *phases])) or "–"


def _title(record: Record) -> str:
    return next((text(record[name]) for name in TITLES[:2] if record.get(name) not in (None, "")), "")


def tiles_of(runs: Runs) -> list[tuple[str, str, bool]]:
    """Name and value of each tile, and whether it is a problem."""
    counts = Counter(runs.statuses)
    doubtful = sum(map(bool, runs.ok.doubts))
    starts = sorted((text(start) for start in runs.distinct("exp.start_time") if start), key=order_of)
    seconds = sum(filter(None, runs.numbers("exp.seconds")))
    models = {text(model) for model in runs.distinct("exp.model") if model}
    tiles = [
        ("experiments", f"{len(runs):,}", False),
        *((name, f"{counts[name]:,}", name in BAD) for name in (*STATUSES, "unfinished") if counts[name]),
        ("doubtful", f"{doubtful:,}" if doubtful else "", True),
        ("models", f"{len(models):,}" if models else "", False),
        ("started", _from_to(starts[0], starts[-1]) if starts else "", False),
        ("time", duration(seconds) if seconds else "", False),
    ]
    return [tile for tile in tiles if tile[1]]


def _from_to(first: str, last: str) -> str:
    """`2026-11-21 10:01 – 10:03`."""
    first, last = first[:16].replace("T", " "), last[:16].replace("T", " ")
    if first == last:
        return first
    return f"{first} – {last[11:] if first[:10] == last[:10] else last}"


_ACRONYMS = {"cpu", "gpu", "numa", "cuda", "cudnn", "nccl", "mhz", "xla", "id"}


def _in_words(name: str) -> str:
    """`exp.env.cpu_count` as `CPU count`."""
    words = name.rpartition(".")[2].split("_")
    return " ".join(word.upper().replace("MHZ", "MHz") if word in _ACRONYMS else word for word in words)


def _fact(name: str, value: Any) -> str:
    """A fact as text, with bytes in a larger unit."""
    size = finite(value)
    if unit_of(name) != "bytes" or size is None:
        return text(value)
    unit, factor = prefixed("bytes", size)
    return f"{short_number(size * factor)} {unit}"


def machines_of(runs: Runs) -> list[dict[str, Any]]:
    """Facts about each machine that are the same in all its experiments."""
    machines = []
    for found in runs.group(["exp.env.host", "exp.device_title"]).values():
        facts: dict[str, str] = {}
        for name in sorted(found.names):
            if is_fact(name) and (values := {_fact(name, value) for value in found.present(name)} - {""}):
                title = key_title(name)
                facts[_in_words(name) if title == name else title] = (
                    values.pop() if len(values) == 1 else f"{len(values)} different values"
                )
        if facts:
            host, device = (text(found[0].get(name)) for name in ("exp.env.host", "exp.device_title"))
            name = ", ".join(filter(None, [host, device])) or "unknown"
            machines.append({"name": name, "count": len(found), "facts": list(facts.items())})
    return machines
