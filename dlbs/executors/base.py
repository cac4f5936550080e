"""How one experiment ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an executor reports about an experiment.

    Attributes:
        status: ok, failure, timeout, skipped or cancelled.
        message: Why, in one line; empty if all is well.
        seconds: Wall time of the whole launcher.
        results: The log's `results.*` scalars, as far as they stand near its end.
        exit_code: Of the benchmark; None if it did not come so far.
    """

    status: str
    message: str = ""
    seconds: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
