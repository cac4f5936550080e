"""Format the result of a comparison as sentences: `keep ran 1.31 ± 0.04 times faster than system`."""

from __future__ import annotations

from dlbs.results.keys import better_of
from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.ratio import Estimate
from dlbs.results.statistics.verdicts import IMPROVEMENTS, is_speed
from dlbs.text import short_number

__all__ = ["ratio_words", "sentence", "speed_words"]

_NEARLY_SYMMETRIC = 1.25  # largest ratio of the halves of an interval for which ± is accurate enough


def sentence(metric: str, sides: tuple[str, str], verdict: str, estimate: Estimate | None, threshold: float) -> str:
    """Format one comparison as a sentence.

    Args:
        metric: Key of the quantity.
        sides: Names of the baseline and the value.
        verdict: A key of `VERDICTS`.
        estimate: Ratio of the value to the baseline; None if there is none.
        threshold: Largest relative difference that counts as the same.
    """
    base, value = sides
    if estimate is None:
        return f"{value} against {base}: {verdict}"
    limit = f"within {100 * threshold:g} %"
    words = speed_words(metric, verdict, estimate)
    if not is_speed(metric):
        if verdict == "same":
            return f"{metric} with {value} is the same as with {base}, {limit} ({words})"
        return f"{metric} with {value} is {words} that with {base}: {verdict}"
    if verdict == "same":
        return f"{value} ran as fast as {base}, {limit} ({words})"
    if verdict in {"faster", "slower"}:
        return f"{value} ran {words} than {base}"
    return f"{value} against {base}: {verdict} ({words})"


def speed_words(metric: str, verdict: str, estimate: Estimate) -> str:
    """Format a ratio for a sentence: `1.31 ± 0.04 times faster`, `0.97 ± 0.02 times as fast`; for other quantities `1.31 ± 0.04 times`."""
    if not is_speed(metric):
        return f"{ratio_words(estimate)} times"
    is_inverse = better_of(metric) < 0
    if verdict in {"faster", "slower"}:
        inverse = is_inverse == (verdict in IMPROVEMENTS)
        return f"{ratio_words(estimate, inverse=inverse)} times {verdict}"
    return f"{ratio_words(estimate, inverse=is_inverse)} times as fast"


def ratio_words(estimate: Estimate, *, inverse: bool = False) -> str:
    """Format a ratio or its inverse with its interval: `1.31 ± 0.04`, half the width, or `2.53 [0.40, 15.9]` where ± would mislead."""
    interval = estimate.interval
    ratio = 1 / estimate.ratio if inverse else estimate.ratio
    if interval is None:
        return f"{ratio:.2f}"
    if inverse:
        interval = Interval(1 / interval.high, 1 / interval.low, interval.confidence)
    half = (interval.high - interval.low) / 2
    digits = 2 if half >= 0.005 else 3
    if is_nearly_symmetric(ratio, interval) or half < 0.5 * 10**-digits:
        return f"{ratio:.{digits}f} ± {half:.{digits}f}"
    low, high = (_bound(bound, digits) for bound in (interval.low, interval.high))
    return f"{_bound(ratio, digits)} [{low}, {high}]"


def _bound(value: float, digits: int) -> str:
    if value >= 100:
        return short_number(value)
    return f"{value:.1f}" if value >= 10 else f"{value:.{digits}f}"


def is_nearly_symmetric(ratio: float, interval: Interval) -> bool:
    """Whether both halves of an interval are about equally wide."""
    halves = interval.high - ratio, ratio - interval.low
    return max(halves) <= _NEARLY_SYMMETRIC * min(halves)
