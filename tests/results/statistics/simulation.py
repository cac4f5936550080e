"""Simulated comparisons: how often noise becomes a verdict, and how often a planted slowdown is found.

`python -m tests.results.statistics.simulation` prints the table of error_rates.md, which test_error_rates.py computes again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from dlbs.results.statistics.ratio import ESTIMATORS, FEWEST_RUNS, Sample, estimate_ratio, verdict_of

__all__ = ["COLUMNS", "NOISES", "RUNS", "rates", "table"]

ROUNDS = 400

RUNS = (3, 5, 10, 20)

SLOWDOWNS = (0.03, 0.05, 0.10)

COLUMNS = ("false at 0 %", "false at 3 %", *(f"{100 * slowdown:.0f} % slower found" for slowdown in SLOWDOWNS))

# A run's time and whether it logs a warning.
Run = tuple[float, bool]


def _quiet(source: random.Random) -> Run:
    """1 % of standard deviation."""
    return source.gauss(100, 1), False


def _skewed(source: random.Random) -> Run:
    """Never faster than the machine allows: 3 % on average above it, exponentially distributed."""
    return 100 * (1 + source.expovariate(1 / 0.03)), False


def _disturbed(source: random.Random) -> Run:
    """Every fourth run is disturbed by 30 % on average, without a warning."""
    slower = 1 + source.expovariate(1 / 0.3) if source.random() < 0.25 else 1.0
    return source.gauss(100, 1) * slower, False


def _flagged(source: random.Random) -> Run:
    """The same, and the disturbed runs log warnings, so that `compare` leaves them out where three others remain."""
    time, slower = source.gauss(100, 1), source.random() < 0.25
    return time * (1 + source.expovariate(1 / 0.3) if slower else 1.0), slower


NOISES: dict[str, Callable[[random.Random], Run]] = {
    "quiet": _quiet,
    "skewed": _skewed,
    "disturbed": _disturbed,
    "disturbed, with warnings": _flagged,
}


def _side(noise: str, count: int, source: random.Random) -> Sample | None:
    """What is compared; None if `compare` would say `inconclusive` because of doubtful runs."""
    made = [NOISES[noise](source) for _ in range(count)]
    clean = [time for time, doubtful in made if not doubtful]
    if len(clean) == count or len(clean) >= FEWEST_RUNS:
        return Sample(tuple(clean))
    return None


@cache
def rates(noise: str, estimator: str, count: int) -> tuple[float, ...]:
    """The share of comparisons for each of `COLUMNS`, 0 to 1; both sides have `count` runs."""
    source = random.Random(f"{noise} {count}")
    hits = [0] * len(COLUMNS)
    for _ in range(ROUNDS):
        a, b = _side(noise, count, source), _side(noise, count, source)
        if a is None or b is None:
            continue
        # B over A as throughput. A slowdown divides all of B, so the interval is divided by it too.
        found = estimate_ratio(a, b, estimator)
        assert found is not None
        assert found.interval is not None
        for column, (slowdown, threshold) in enumerate([(0.0, 0.0), (0.0, 0.03), *((one, 0.0) for one in SLOWDOWNS)]):
            interval = type(found.interval)(
                found.interval.low / (1 + slowdown), found.interval.high / (1 + slowdown), found.interval.confidence
            )
            verdict = verdict_of("results.throughput", interval, threshold)
            hits[column] += verdict == "slower" or (slowdown == 0 and verdict == "faster")
    return tuple(hit / ROUNDS for hit in hits)


def table() -> list[str]:
    """Rows of the table in error_rates.md."""
    lines = [f"| runs | estimator | {' | '.join(COLUMNS)} |", "| --- | --- |" + " ---: |" * len(COLUMNS)]
    for noise in NOISES:
        lines.append(f"| **{noise}** | |" + " |" * len(COLUMNS))
        for count in RUNS:
            for estimator in ESTIMATORS:
                shares = " | ".join(f"{100 * share:.1f} %" for share in rates(noise, estimator, count))
                lines.append(f"| {count} | {estimator} | {shares} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
