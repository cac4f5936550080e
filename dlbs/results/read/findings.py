"""What is noticed about logs while they are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["ERRORS", "KINDS", "LONGEST", "Finding", "Reading"]

LONGEST = 64 << 20  # bytes of the longest line that is still a value

KINDS = {
    "unreadable": "cannot be read",
    "broken": "has the form of a result, but its value is not JSON",
    "long": f"a value of more than {LONGEST >> 20} MiB, left out",
    "torn": "the file ends in the middle of this line, which was left out",
    "encoding": "not UTF-8, read as Windows-1252",
    "binary": "binary data among the lines, left out",
    "repeated": "a result stands more than once; the last one holds",
    "unfinished": "still being written, or interrupted",
    "empty": "holds no experiment",
}

ERRORS = frozenset({"unreadable", "broken"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a log that its reader should know.

    Attributes:
        kind: A key of `KINDS`, which says what it means.
        where: `file` or `file:line`.
        detail: What exactly; may be empty.
    """

    kind: str
    where: str
    detail: str = ""


@dataclass(slots=True)
class Reading:
    """What was noticed while logs were read.

    Attributes:
        findings: In the order of the logs.
        logs: How many logs were read.
        unchanged: How many of them came from the cache.
        paths: The logs that were read.
    """

    findings: list[Finding] = field(default_factory=list)
    logs: int = 0
    unchanged: int = 0
    paths: set[str] = field(default_factory=set)

    def of(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def errors(self) -> list[Finding]:
        """Findings by which a result may be lost."""
        return [finding for finding in self.findings if finding.kind in ERRORS]

    def messages(self, most: int = 3) -> list[str]:
        """One line for each kind that was found: how many, what it means, and where the first ones are."""
        counts = Counter(finding.kind for finding in self.findings)
        lines = []
        for kind, meaning in KINDS.items():
            if not counts[kind]:
                continue
            shown = [
                f"{found.where} ({found.detail})" if found.detail else found.where for found in self.of(kind)[:most]
            ]
            more = f", and {counts[kind] - most} more" if counts[kind] > most else ""
            lines.append(f"{counts[kind]} {kind}: {meaning}: {', '.join(shown)}{more}")
        return lines
