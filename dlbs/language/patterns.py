"""Regular expressions from strangers, with their work bounded before they run.

Python's `re` backtracks and cannot be interrupted. The shape of the pattern tells how the work can grow with the length
of the text: with k repetitions side by side like n^k, with a repetition of something ambiguous like 2^n. A match whose
bound is over `MAX_STEPS` is refused instead of started.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any

from dlbs.errors import ExpressionError

__all__ = ["MAX_PATTERN", "MAX_STEPS", "bounded"]

if sys.version_info >= (3, 11):
    from re import _parser as sre_parse  # type: ignore[attr-defined]
else:
    import sre_parse

MAX_PATTERN = 1_000  # characters

MAX_STEPS = 200_000_000  # about a second of the matcher's inner loop; real patterns need thousands

_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[re.Pattern[str], int, bool]:
    """Return the pattern, how many of its repetitions can vary, and whether backtracking may be exponential."""
    if len(pattern) > MAX_PATTERN:
        raise ExpressionError(f"regular expression of {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
    try:
        tree = sre_parse.parse(pattern)
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ExpressionError(f"bad regular expression {pattern!r}: {error}") from None
    degree, exponential = _growth(tree)
    return compiled, degree, exponential


def _growth(tree: Any) -> tuple[int, bool]:
    degree, exponential = 0, False
    for code, argument in tree:
        name = str(code)
        if name in _REPEATS:
            low, high, body = argument
            inner, bad = _growth(body)
            varies = high != low
            ambiguous = inner > 0 or _has_choice(body)
            exponential |= bad or (ambiguous and int(high) > 1)
            degree += inner + varies
            continue
        for body in _bodies(argument):
            inner, bad = _growth(body)
            degree, exponential = degree + inner, exponential or bad
    return degree, exponential


def _has_choice(tree: Any) -> bool:
    return any(str(code) == "BRANCH" or any(map(_has_choice, _bodies(argument))) for code, argument in tree)


def _bodies(argument: Any) -> list[Any]:
    """Sub-patterns inside the argument of one parsed operation (groups, alternatives, look-arounds)."""
    if isinstance(argument, sre_parse.SubPattern):
        return [argument]
    if isinstance(argument, (tuple, list)):
        return [body for item in argument for body in _bodies(item)]
    return []


def bounded(pattern: str, text: str, *, anchored: bool = False) -> re.Pattern[str]:
    """Return the compiled `pattern` if matching it against `text` takes a bounded number of steps.

    Args:
        pattern: A regular expression in Python's syntax.
        text: What it is going to be matched against.
        anchored: True for `match` and `fullmatch`, which try one starting position instead of all.

    Raises:
        ExpressionError: The pattern is malformed, or could run away on a text of this length.
    """
    compiled, degree, exponential = _compiled(pattern)
    length = len(text) + 1
    power = degree + (0 if anchored else 1)
    if (exponential and length > 24) or (power > 1 and length**power > MAX_STEPS):
        raise ExpressionError(
            f"regular expression {pattern!r} may backtrack without bound on a text of {len(text)} characters",
            hint="use fewer repetitions, and none inside another",
        )
    return compiled
