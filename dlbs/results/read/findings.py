"""Problems found in logs while reading them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["ERRORS", "KINDS", "LONGEST", "Finding", "Reading"]

LONGEST = 64 << 20  # bytes of the longest line that is read as a value

KINDS = {
    "unreadable": "cannot be read",
    "broken": "looks like a result, but the value is not JSON",
    "long": f"value larger than {LONGEST >> 20} MiB, ignored",
    "torn": "the file ends in the middle of this line, line ignored",
    "encoding": "not UTF-8, read as Windows-1252",
    "binary": "binary data between lines, ignored",
    "repeated": "duplicate key; the last value wins",
    "unfinished": "still being written, or interrupted",
    "empty": "contains no experiment",
}

ERRORS = frozenset({"unreadable", "broken"})


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem found in a log.

    Attributes:
        kind: A key of `KINDS`, which explains it.
        where: `file` or `file:line`.
        detail: More detail; may be empty.
    """

    kind: str
    where: str
    detail: str = ""


@dataclass(slots=True)
class Reading:
    """Findings and statistics of reading logs.

    Attributes:
        findings: Findings in the order of the logs.
        logs: Number of logs read.
        unchanged: Number of logs taken from the cache.
        paths: Paths of the logs.
    """

    findings: list[Finding] = field(default_factory=list)
    logs: int = 0
    unchanged: int = 0
    paths: set[str] = field(default_factory=set)

    def of(self, kind: str) -> list[Finding]:
        """Findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def errors(self) -> list[Finding]:
        """Findings that may have lost a result."""
        return [finding for finding in self.findings if finding.kind in ERRORS]

    def messages(self, most: int = 3) -> list[str]:
        """Summarise findings, one line per kind: their number, the meaning, and where the first ones are."""
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
