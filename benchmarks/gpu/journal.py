"""The journal of a session: a file with a line for each step of each case, which survives any end of the session."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Environment variables of a session's processes: the file, the current part, and its deadline in seconds since 1970.
JOURNAL, PART, DEADLINE = "DLBS_GPU_JOURNAL", "DLBS_GPU_PART", "DLBS_GPU_DEADLINE"
PIECE = "DLBS_GPU_PIECE"  # 0/3 for every third case, from the first on
SESSION = "DLBS_GPU_SESSION"  # its process id

FINAL = ("passed", "failed", "skipped", "crashed", "timeout")
_STARTS_AT_MOST = 2  # a case that was started twice and never ended is not tried again


@dataclass(slots=True)
class Case:
    """One test, or one measurement.

    Attributes:
        part: Part of the session.
        name: A pytest node, or the name of a measurement.
        outcome: One of `FINAL`; "planned" or "started" if it has none yet.
        seconds: Its duration.
        reason: The reason why it was skipped or failed.
        values: The measured values.
        starts: The number of times that it was started.
    """

    part: str
    name: str
    outcome: str = "planned"
    seconds: float = 0.0
    reason: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    starts: int = 0

    @property
    def done(self) -> bool:
        """Whether it need not be started again."""
        return self.outcome in FINAL


class Journal:
    """Writer that appends lines to a file; several processes may do so at the same time.

    Args:
        path: Path of the file, in an existing directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_environment(cls) -> Journal | None:
        """The journal of the session that started this process; None without one."""
        path = os.environ.get(JOURNAL)
        return cls(Path(path)) if path else None

    def plan(self, names: list[str]) -> list[str]:
        """Record the cases of this part; return those that must still run, first those that did not pass in an earlier session."""
        piece, pieces = map(int, os.environ.get(PIECE, "0/1").split("/"))
        names = names[piece::pieces]
        known, earlier = cases_of(self.path), earlier_of(self.path)
        for name in names:
            if name not in known or known[name].part != os.environ[PART]:
                self._write({"part": os.environ[PART], "name": name, "outcome": "planned"})
        self.note(planned=os.environ[PART])
        left = [name for name in names if name not in known or not known[name].done]
        return sorted(left, key=lambda name: name in earlier and earlier[name].outcome == "passed")

    def start(self, name: str) -> None:
        """Record the start of a case; without a later line, it ended this process."""
        self._write({"part": os.environ[PART], "name": name, "outcome": "started"})

    def stop(self, case: Case) -> None:
        """Record that the session ended a case for want of time: this start does not count."""
        self._write({"part": case.part, "name": case.name, "outcome": "stopped"})

    def finish(self, case: Case) -> None:
        """Record the end of a case."""
        self._write({key: value for key, value in asdict(case).items() if key != "starts"})

    def keep(self, case: Case) -> None:
        """Copy the state of a case from an earlier session."""
        self._write({"part": case.part, "name": case.name, "outcome": "planned"})
        for _ in range(case.starts):
            self._write({"part": case.part, "name": case.name, "outcome": "started"})
        if case.done:
            self.finish(case)

    def remember(self, case: Case) -> None:
        """Record the outcome and the duration of a case in an earlier session, which will be repeated."""
        self._write({"earlier": {key: getattr(case, key) for key in ("part", "name", "outcome", "seconds")}})

    def note(self, **facts: Any) -> None:
        """Write a line about the session, not about a case."""
        self._write({"session": facts})

    def _write(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        with self.path.open("ab", buffering=0) as stream:  # one write to the end of the file: no line is within another
            stream.write(b"\n" + data if self._is_torn() else data)

    def _is_torn(self) -> bool:
        """Whether the last line was truncated when its writer was killed."""
        with self.path.open("rb") as stream:
            return stream.seek(0, os.SEEK_END) > 0 and os.pread(stream.fileno(), 1, stream.tell() - 1) != b"\n"


def out_of_time() -> bool:
    """Whether the current part has to end: its deadline has passed, or its session was killed."""
    orphaned = SESSION in os.environ and os.getppid() != int(os.environ[SESSION])
    return orphaned or time.time() >= float(os.environ.get(DEADLINE, "inf"))


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal, without one that was truncated when its writer was killed."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def cases_of(path: Path) -> dict[str, Case]:
    """The state of each case, in the planned order."""
    cases: dict[str, Case] = {}
    for line in lines_of(path):
        if "name" not in line:
            continue
        case = cases.setdefault(line["name"], Case(line["part"], line["name"]))
        if line["outcome"] == "started":
            case.starts += 1
            case.outcome = "started"
        elif line["outcome"] == "stopped":
            case.starts -= 1
            case.outcome = "planned"
        elif line["outcome"] in FINAL:
            case.outcome, case.seconds = line["outcome"], line.get("seconds", 0.0)
            case.reason, case.values = line.get("reason", ""), line.get("values", {})
        else:
            case.part = line["part"]  # the number of pieces may change from session to session
            case.outcome = case.outcome if case.done else line["outcome"]
    for case in cases.values():
        if case.outcome == "started" and case.starts >= _STARTS_AT_MOST:
            case.outcome, case.reason = "crashed", f"started {case.starts} times, and the session ended in it each time"
    return cases


def earlier_of(path: Path) -> dict[str, Case]:
    """Cases of earlier sessions that are repeated: the last outcome and duration of each."""
    return {line["earlier"]["name"]: Case(**line["earlier"]) for line in lines_of(path) if "earlier" in line}


def planned_parts(path: Path) -> set[str]:
    """The parts of which all cases are in the journal."""
    notes = (line.get("session", {}) for line in lines_of(path))
    return {note["planned"] for note in notes if "planned" in note}
