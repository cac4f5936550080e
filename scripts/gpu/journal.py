"""What a session on a GPU has done so far: a file with a line for each step of each case, which survives whatever ends the session."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DEADLINE", "FINAL", "JOURNAL", "PART", "SESSION", "Case", "Journal", "cases_of", "lines_of", "out_of_time"]

# In the environment of what a session starts: the file, the part that runs, and when it has to be over, in seconds since 1970.
JOURNAL, PART, DEADLINE = "DLBS_GPU_JOURNAL", "DLBS_GPU_PART", "DLBS_GPU_DEADLINE"
SESSION = "DLBS_GPU_SESSION"  # its process

FINAL = ("passed", "failed", "skipped", "crashed", "timeout")
_STARTS_AT_MOST = 2  # what was begun twice and never ended is not tried a third time


@dataclass(slots=True)
class Case:
    """One test, or one measurement.

    Attributes:
        part: Of the session.
        name: A pytest node, or the name of a measurement.
        outcome: One of `FINAL`; "planned" or "started" if it has none yet.
        seconds: That it took.
        reason: Why it was skipped, or how it failed.
        values: What was measured.
        starts: How often it was begun.
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
        """Whether it need not be begun again."""
        return self.outcome in FINAL


class Journal:
    """Appends lines to a file; several processes may, one after the other.

    Args:
        path: Of the file, in a directory that is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_environment(cls) -> Journal | None:
        """That of the session which started this process; None without one."""
        path = os.environ.get(JOURNAL)
        return cls(Path(path)) if path else None

    def plan(self, names: list[str]) -> set[str]:
        """Note that these cases exist, in this part; return those that are still to be run."""
        known = cases_of(self.path)
        for name in names:
            if name not in known:
                self._write({"part": os.environ[PART], "name": name, "outcome": "planned"})
        return {name for name in names if name not in known or not known[name].done}

    def start(self, name: str) -> None:
        """A case begins: if nothing more is heard of it, it ended this process."""
        self._write({"part": os.environ[PART], "name": name, "outcome": "started"})

    def finish(self, case: Case) -> None:
        """A case is over."""
        self._write({key: value for key, value in asdict(case).items() if key != "starts"})

    def keep(self, case: Case) -> None:
        """Take over a case of an earlier session, as far as it had come."""
        self._write({"part": case.part, "name": case.name, "outcome": "planned"})
        for _ in range(case.starts):
            self._write({"part": case.part, "name": case.name, "outcome": "started"})
        if case.done:
            self.finish(case)

    def note(self, **facts: Any) -> None:
        """Write a line that is about the session, not about a case."""
        self._write({"session": facts})

    def _write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("ab") as stream:
            torn = stream.tell() > 0 and not self._ends_with_newline()
            stream.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read() == b"\n"


def out_of_time() -> bool:
    """Whether the part that runs has to be over; it has to be as well when the session that started it was killed."""
    orphaned = SESSION in os.environ and os.getppid() != int(os.environ[SESSION])
    return orphaned or time.time() >= float(os.environ.get(DEADLINE, "inf"))


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal; one that was torn when its writer was killed is left out."""
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
    """What is known of each case, in the order in which they were planned."""
    cases: dict[str, Case] = {}
    for line in lines_of(path):
        if "name" not in line:
            continue
        case = cases.setdefault(line["name"], Case(line["part"], line["name"]))
        if line["outcome"] == "started":
            case.starts += 1
            case.outcome = "started"
        elif line["outcome"] in FINAL:
            case.outcome, case.seconds = line["outcome"], line.get("seconds", 0.0)
            case.reason, case.values = line.get("reason", ""), line.get("values", {})
        elif not case.done:
            case.outcome = line["outcome"]
    for case in cases.values():
        if case.outcome == "started" and case.starts >= _STARTS_AT_MOST:
            case.outcome, case.reason = "crashed", f"begun {case.starts} times, and each time the session ended in it"
    return cases
