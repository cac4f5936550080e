"""Doubtful runs: the warnings that a run logged about its own numbers, and what each is about in two or three words."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["doubt_words", "doubts_of", "kind_of", "warnings_of"]

_LONGEST = 60  # characters of a kind


def warnings_of(record: Mapping[str, Any]) -> list[str]:
    """What makes the numbers of a run doubtful, as the run itself logged it; empty if nothing does."""
    found = record.get("results.warnings")
    return [line for line in found if isinstance(line, str)] if isinstance(found, list) else []


def kind_of(warning: str) -> str:
    """What a warning is about, without its figures and its remedy: `CPU contention`."""
    return textwrap.shorten(warning.partition(":")[0], _LONGEST, placeholder="…")


def doubts_of(record: Mapping[str, Any]) -> list[str]:
    """The kinds of the warnings of a run, each once."""
    return list(dict.fromkeys(map(kind_of, warnings_of(record))))


def doubt_words(counts: Mapping[str, int]) -> str:
    """Kinds of warnings with the number of runs that each concerns, the most frequent first: `CPU contention 8, drift 3`."""
    return ", ".join(f"{kind} {count}" for kind, count in Counter(counts).most_common())
