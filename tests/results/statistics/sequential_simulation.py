"""Simulated runs until it is known: how often noise becomes a verdict, and how many runs a verdict takes.

`python -m tests.results.statistics.sequential_simulation` prints the tables of error_rates.md, which test_sequential_rates.py computes again.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

from dlbs.results.runs import THROUGHPUT
from dlbs.results.statistics.ratio import INCONCLUSIVE, Interval, rank_interval, sample_of, verdict_of
from dlbs.results.statistics.sequential import Rounds, repeated_interval
from tests.results.statistics.real_runs import configurations, pool

__all__ = ["CASES", "DRAWS", "LOOKS", "NOISES", "REAL", "outcomes", "real_outcomes", "real_table", "table"]

DRAWS = 200  # for each configuration of real runs
REAL = ("at rest", "under changing load")  # conditions of real runs of which there are enough for ten rounds

# Slowdown of B, threshold.
CASES = ((0.0, 0.0), (0.0, 0.03), (0.03, 0.0), (0.05, 0.0), (0.10, 0.0), (0.05, 0.03), (0.10, 0.03))


def _quiet(source: random.Random) -> float:
    return source.gauss(100, 1)


def _skewed(source: random.Random) -> float:
    return 100 * (1 + source.expovariate(1 / 0.03))


def _disturbed(source: random.Random) -> float:
    return source.gauss(100, 1) * (1 + source.expovariate(1 / 0.3) if source.random() < 0.25 else 1.0)


def _two_modes(source: random.Random) -> float:
    """As memory that lies well or badly: one in two runs is slower by 5 %, and runs of one mode hardly differ."""
    return source.gauss(100, 0.1) * (1.05 if source.random() < 0.5 else 1.0)


Noise = Callable[[random.Random], Iterator[tuple[float, float]]]


def _independent(run: Callable[[random.Random], float]) -> Noise:
    def rounds(source: random.Random) -> Iterator[tuple[float, float]]:
        while True:
            yield run(source), run(source)

    return rounds


def _slow_changes(source: random.Random) -> Iterator[tuple[float, float]]:
    """As a machine whose clock and temperature change: 5 % between rounds, with a correlation of 0.9 from one to the next, and 1 % between runs."""
    level = source.gauss(0, 0.05)
    while True:
        yield 100 * math.exp(level) * source.gauss(1, 0.01), 100 * math.exp(level) * source.gauss(1, 0.01)
        level = 0.9 * level + source.gauss(0, 0.05 * math.sqrt(1 - 0.9**2))


def _load(source: random.Random) -> Iterator[tuple[float, float]]:
    """As beside a load that comes and goes: it takes 40 % for four rounds on average, then not for six; runs differ by 2 %."""
    is_on = source.random() < 0.4
    while True:
        factor = 140 if is_on else 100
        yield factor * source.gauss(1, 0.02), factor * source.gauss(1, 0.02)
        if source.random() < (0.25 if is_on else 0.17):
            is_on = not is_on


# The two runs of each round.
NOISES: dict[str, Noise] = {
    "quiet": _independent(_quiet),
    "skewed": _independent(_skewed),
    "disturbed": _independent(_disturbed),
    "two modes": _independent(_two_modes),
    "slow changes": _slow_changes,
    "load that comes and goes": _load,
}

Look = Callable[[list[float], list[float]], Interval | None]


def _sequential(a: list[float], b: list[float]) -> Interval | None:
    return repeated_interval(a, b, 0.05, 0.95, Rounds(a, b))[1]


def _all_runs(a: list[float], b: list[float]) -> Interval | None:
    return repeated_interval(a, b, 0.05, 0.95)[1]


def _repeated_95(a: list[float], b: list[float]) -> Interval | None:
    """What one would do by hand: look at the 95 % interval after each round."""
    return rank_interval(a, b)[1] if len(a) >= 5 else None


LOOKS: dict[str, Look] = {"sequential": _sequential, "all runs alone": _all_runs, "95 % at each look": _repeated_95}


@cache
def outcomes(noise: str, look: str, sequences: int, rounds: int) -> tuple[dict[str, list[int]], ...]:
    """For each of `CASES`: verdict → the round of each sequence that came to it. Sequences that stay open are left out."""
    source = random.Random(noise)
    found: tuple[dict[str, list[int]], ...] = tuple({} for _ in CASES)
    for _ in range(sequences):
        a: list[float] = []
        b: list[float] = []
        left = set(range(len(CASES)))
        for number, (one, other) in zip(range(1, rounds + 1), NOISES[noise](source), strict=False):
            a.append(one)
            b.append(other)
            interval = LOOKS[look](a, b) if left else None
            if interval is None:
                continue
            for case in sorted(left):
                slowdown, threshold = CASES[case]
                # B over A as throughput. A slowdown divides all of B, so the interval is divided by it too.
                slower = Interval(interval.low / (1 + slowdown), interval.high / (1 + slowdown), interval.confidence)
                verdict = verdict_of("results.throughput", slower, threshold)
                if verdict != INCONCLUSIVE:
                    found[case].setdefault(verdict, []).append(number)
                    left.remove(case)
    return found


@cache
def real_outcomes(
    configuration: str, look: str, *, in_order: bool, condition: str = "at rest"
) -> tuple[dict[str, int], ...]:
    """For each of `CASES`: verdict → how many of `DRAWS` sequences of real runs of the same code came to it.

    Args:
        configuration: One of `real_runs.configurations()`; doubtful runs are trusted.
        look: A key of `LOOKS`.
        in_order: Two runs that followed each other are a round, and chance decides which is of which side; else runs are dealt at random.
        condition: One of `real_runs.CONDITIONS`.
    """
    sample = sample_of(pool(configuration, condition), THROUGHPUT)
    assert sample is not None
    source = random.Random(configuration)
    found: tuple[dict[str, int], ...] = tuple({} for _ in CASES)
    for _ in range(DRAWS):
        runs = list(sample.values)
        if not in_order:
            source.shuffle(runs)
        rounds = [source.sample(runs[at : at + 2], 2) for at in range(0, len(runs) - 1, 2)]
        left = set(range(len(CASES)))
        for count in range(1, len(rounds) + 1):
            interval = LOOKS[look]([one for one, _ in rounds[:count]], [other for _, other in rounds[:count]])
            if interval is None:
                continue
            for case in sorted(left):
                slowdown, threshold = CASES[case]
                slower = Interval(interval.low / (1 + slowdown), interval.high / (1 + slowdown), interval.confidence)
                verdict = verdict_of("results.throughput", slower, threshold)
                if verdict != INCONCLUSIVE:
                    found[case][verdict] = found[case].get(verdict, 0) + 1
                    left.remove(case)
    return found


def real_table() -> list[str]:
    """Rows of a table in error_rates.md."""
    columns = {
        "false at 0 %": (0.0, 0.0),
        "false at 3 %": (0.0, 0.03),
        "10 % found": (0.10, 0.0),
        "10 % found at 3 %": (0.10, 0.03),
    }
    lines = [f"| runs | order | intervals | {' | '.join(columns)} |", "| --- | --- | --- |" + " ---: |" * len(columns)]
    for condition, configuration, in_order in product(REAL, configurations(), (False, True)):
        for look, words in (("sequential", "both"), ("all runs alone", "all runs")):
            found = dict(
                zip(CASES, real_outcomes(configuration, look, in_order=in_order, condition=condition), strict=True)
            )
            counts = [
                sum(found[case].get(verdict, 0) for verdict in (("slower",) if case[0] else ("slower", "faster")))
                for case in columns.values()
            ]
            cells = " | ".join(f"{100 * count / DRAWS:.1f} %" for count in counts)
            order = "as they ran" if in_order else "shuffled"
            lines.append(f"| {configuration}, {condition} | {order} | {words} | {cells} |")
    return lines


def table(look: str, sequences: int, rounds: int) -> list[str]:
    """Rows of a table in error_rates.md."""
    names = [f"{100 * slowdown:.0f} % slower, threshold {100 * threshold:.0f} %" for slowdown, threshold in CASES]
    lines = [f"| noise | {' | '.join(names)} |", "| --- |" + " ---: |" * len(CASES)]
    for noise in NOISES:
        cells = [
            _cell(found, slowdown, sequences)
            for found, (slowdown, _) in zip(outcomes(noise, look, sequences, rounds), CASES, strict=True)
        ]
        lines.append(f"| {noise} | {' | '.join(cells)} |")
    return lines


def _cell(found: dict[str, list[int]], slowdown: float, sequences: int) -> str:
    if not slowdown:
        wrong = sum(len(rounds) for verdict, rounds in found.items() if verdict != "same")
        words = f"{100 * wrong / sequences:.1f} % false"
        same = found.get("same")
        return words + (f", {_share(same, sequences)} same after {statistics.median(same):g}" if same else "")
    right = found.get("slower", [])
    wrong = sum(len(rounds) for verdict, rounds in found.items() if verdict != "slower")
    words = f"{_share(right, sequences)} after {statistics.median(right):g}" if right else "0 %"
    return words + (f", {100 * wrong / sequences:.1f} % false" if wrong else "")


def _share(rounds: list[int], sequences: int) -> str:
    return f"{100 * len(rounds) / sequences:.0f} %"


if __name__ == "__main__":
    for look in LOOKS:
        print(f"\n{look}\n")
        print("\n".join(table(look, 400, 50)))
    print("\nreal runs\n")
    print("\n".join(real_table()))
