"""Comparisons drawn from real runs of the same code: how often noise becomes a verdict, and how often a planted slowdown is found.

`python -m tests.results.statistics.real_runs` prints the tables of error_rates.md, which test_real_runs.py computes again. The runs are in
real_runs.json.gz, a results file that `benchmarks/same_code.py` made; `dlbs parse` and `dlbs compare` read it too.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Iterator
from functools import cache

from benchmark_core.doubts import doubts_of, drifted
from dlbs.results.read.onelog import Reading
from dlbs.results.read.records import read_runs
from dlbs.results.runs import THROUGHPUT, Record
from dlbs.results.statistics.ratio import FEWEST_RUNS, Interval, estimate_ratio, sample_of, verdict_of
from tests.conftest import ROOT
from tests.results.statistics import candidates

__all__ = [
    "CANDIDATES",
    "COLUMNS",
    "CONDITIONS",
    "DATA",
    "EACH_SIDE",
    "EVERY_DRIFT",
    "METHODS",
    "ROUNDS",
    "configurations",
    "counts",
    "default",
    "disturbed",
    "draws",
    "found_in_every_tenth",
    "pool",
    "rates",
    "summary",
]

DATA = ROOT / "tests" / "results" / "statistics" / "real_runs.json.gz"

ROUNDS = 200  # for each configuration

RUNS = (1, 2, 3, 5, 8, 10, 20)

CONDITIONS = ("at rest", "under changing load", "under full load")

# Title → slowdown and threshold. Without a slowdown, `faster` is wrong too.
COLUMNS = {
    "false at 0 %": (0.0, 0.0),
    "3 % found": (0.03, 0.0),
    "5 % found": (0.05, 0.0),
    "10 % found": (0.10, 0.0),
    "false at 3 %": (0.0, 0.03),
    "5 % found at 3 %": (0.05, 0.03),
    "10 % found at 3 %": (0.10, 0.03),
}

Side = list[Record]


def default(a: Side, b: Side) -> Interval | None:
    """`dlbs compare`: doubtful runs are left out where three others remain, else there is no verdict."""
    sides = _clean(a), _clean(b)
    return None if any(len(side) < FEWEST_RUNS for side in sides) else _of_program(*sides, "rank")


def trusting(a: Side, b: Side) -> Interval | None:
    """`dlbs compare --trust-single-runs --trust-doubtful`: doubtful runs are left out where three others remain on each side, else all are kept."""
    kept = [_clean(side) for side in (a, b)]
    enough = all(len(clean) == len(side) or len(clean) >= FEWEST_RUNS for clean, side in zip(kept, (a, b), strict=True))
    return _of_program(*(kept if enough else (a, b)), "rank")


def trusting_each_side(a: Side, b: Side) -> Interval | None:
    """The same, if each side decided for itself whether its doubtful runs are left out."""
    kept = [clean if len(clean := _clean(side)) >= FEWEST_RUNS else side for side in (a, b)]
    return _of_program(*kept, "rank")


def of_8c0f0d6(a: Side, b: Side) -> Interval | None:
    """What `dlbs compare` did at commit 8c0f0d6: means of all runs, and verdicts on single runs from their batches."""
    one, other = sample_of(a, THROUGHPUT), sample_of(b, THROUGHPUT)
    assert one is not None
    assert other is not None
    return candidates.mean_of_8c0f0d6(one, other)


def with_every_drift(a: Side, b: Side) -> Interval | None:
    """`dlbs compare` if every drift of more than 3 % were a doubt, as it was."""
    sides = [[record for record in side if not record["noise.logged"]] for side in (a, b)]
    return None if any(len(side) < FEWEST_RUNS for side in sides) else _of_program(*sides, "rank")


EVERY_DRIFT = "every drift a doubt"
EACH_SIDE = "left out on each side"
METHODS = {"8c0f0d6": of_8c0f0d6, "`compare`": default, "`--trust-single-runs`": trusting}


def _of_program(a: Side, b: Side, estimator: str) -> Interval | None:
    one, other = sample_of(a, THROUGHPUT), sample_of(b, THROUGHPUT)
    assert one is not None
    assert other is not None
    found = estimate_ratio(one, other, estimator)
    return found.interval if found else None


def _clean(side: Side) -> Side:
    return [record for record in side if not doubts_of(record)]


def _values(side: Side, values: candidates.Values) -> list[float]:
    return [_value(_Drawn(record), values) for record in side]


class _Drawn:
    """A run, equal to itself only, so that what is computed of it is computed once however often it is drawn."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def __hash__(self) -> int:
        return id(self.record)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Drawn) and self.record is other.record


@cache
def _value(run: _Drawn, values: candidates.Values) -> float:
    return values(1 / run.record["results.throughput"], run.record["results.time_data"])


CANDIDATES = {
    name: (lambda a, b, values=values, interval=interval: interval(_values(a, values), _values(b, values)))
    for name, (values, interval) in candidates.CANDIDATES.items()
}


@cache
def records() -> tuple[Record, ...]:
    """All runs, in the order in which they were started, with the warnings that the program would give them now.

    They were logged when a drift of 3 % was a doubt whatever the noise was; `noise.logged` has these doubts.
    """
    found = read_runs([str(DATA)], Reading()).records()
    for record in found:
        record["noise.logged"] = doubts_of(record)
        record["results.warnings"] = [doubt for doubt in doubts_of(record) if doubt != "drift"]
        if drifted(record["results.time_data"]):
            record["results.warnings"].append("drift")
    return tuple(found)


@cache
def configurations() -> tuple[str, ...]:
    """Model and phase."""
    return tuple(dict.fromkeys(f"{record['exp.model']} {record['exp.phase']}" for record in records()))


@cache
def pool(configuration: str, condition: str, clean: bool = False) -> tuple[Record, ...]:
    """The runs of one configuration under one condition; without the doubtful ones if only clean ones are wanted."""
    return tuple(
        record
        for record in records()
        if f"{record['exp.model']} {record['exp.phase']}" == configuration
        and record["noise.condition"] == condition
        and not (clean and doubts_of(record))
    )


def draws(configuration: str, condition: str, count: int) -> Iterator[tuple[Side, Side]]:
    """Both sides of each comparison, `count` different runs each."""
    source = random.Random(f"{configuration} {condition} {count}")
    runs = pool(configuration, condition)
    for _ in range(ROUNDS):
        drawn = source.sample(runs, 2 * count)
        yield drawn[:count], drawn[count:]


@cache
def rates(method: str, condition: str, count: int) -> tuple[float, ...]:
    """The share of comparisons for each of `COLUMNS`, 0 to 1, of all configurations together; both sides have `count` runs."""
    function = {**METHODS, **CANDIDATES, EVERY_DRIFT: with_every_drift, EACH_SIDE: trusting_each_side}[method]
    hits, rounds = [0] * len(COLUMNS), 0
    for configuration in configurations():
        for a, b in draws(configuration, condition, count):
            rounds += 1
            interval = function(a, b)
            if interval is None:
                continue
            for column, (slowdown, threshold) in enumerate(COLUMNS.values()):
                # A slowdown divides all throughputs of B, so the interval is divided by it too.
                low, high = interval.low / (1 + slowdown), interval.high / (1 + slowdown)
                verdict = verdict_of(THROUGHPUT, Interval(low, high, interval.confidence), threshold)
                hits[column] += verdict == "slower" or (slowdown == 0 and verdict == "faster")
    return tuple(hit / rounds for hit in hits)


@cache
def found_in_every_tenth(method: str, condition: str, count: int) -> float:
    """How often a slowdown of 10 % is found, at threshold 0, that lies in every tenth batch."""
    hits, rounds = 0, 0
    for configuration in configurations():
        for a, b in draws(configuration, condition, count):
            rounds += 1
            interval = CANDIDATES[method](a, [_slower_in_every_tenth(_Drawn(record)) for record in b])
            hits += verdict_of(THROUGHPUT, interval, 0.0) == "slower"
    return hits / rounds


@cache
def _slower_in_every_tenth(run: _Drawn) -> Record:
    record = run.record
    times = record["results.time_data"]
    hit = range(0, len(times), 10)
    longer = 0.1 * sum(times) / len(hit)
    slower = [time + (longer if at in hit else 0.0) for at, time in enumerate(times)]
    return {**record, "results.throughput": record["results.throughput"] / 1.1, "results.time_data": slower}


def disturbed(configuration: str, condition: str) -> tuple[int, int]:
    """How many runs took a quarter longer than the median of those at rest, and how many of these are doubtful."""
    usual = statistics.median(record["results.throughput"] for record in pool(configuration, CONDITIONS[0]))
    slow = [record for record in pool(configuration, condition) if record["results.throughput"] < usual / 1.25]
    return len(slow), sum(bool(doubts_of(record)) for record in slow)


def summary() -> Iterator[tuple[str, str, int, int, str, float, float]]:
    """Configuration, condition, runs, doubtful ones, why; standard deviation over mean of all and of the other runs, in percent."""
    for configuration in configurations():
        for condition in CONDITIONS:
            runs = pool(configuration, condition)
            doubts = Counter(doubt for record in runs for doubt in doubts_of(record))
            why = ", ".join(f"{kind} {count}" for kind, count in doubts.most_common())
            spreads = []
            for chosen in (runs, pool(configuration, condition, clean=True)):
                times = [1 / record["results.throughput"] for record in chosen]
                spreads.append(
                    100 * statistics.stdev(times) / statistics.fmean(times) if len(times) > 1 else float("nan")
                )
            doubtful = sum(bool(doubts_of(record)) for record in runs)
            yield configuration, condition, len(runs), doubtful, why, *spreads


def table() -> Iterator[str]:
    """The program and 8c0f0d6, as in error_rates.md."""
    yield f"| runs | method | {' | '.join(COLUMNS)} |"
    yield "| --- | --- |" + " ---: |" * len(COLUMNS)
    for condition in CONDITIONS:
        yield f"| **{condition}** | |" + " |" * len(COLUMNS)
        for count in counts(condition):
            for method in METHODS:
                yield f"| {count} | {method} | {' | '.join(map(_percent, rates(method, condition, count)))} |"


def candidates_table() -> Iterator[str]:
    """The estimators beside each other, with all runs, as in error_rates.md."""
    yield f"| runs per side | estimator | {' | '.join(COLUMNS)} | 10 % found in every tenth batch |"
    yield "| --- | --- |" + " ---: |" * (len(COLUMNS) + 1)
    for condition in CONDITIONS:
        yield f"| **{condition}** | |" + " |" * (len(COLUMNS) + 1)
        for count in counts(condition):
            for method in CANDIDATES if count in (5, 10, 20) else ():
                shares = *rates(method, condition, count), found_in_every_tenth(method, condition, count)
                yield f"| {count} | {method} | {' | '.join(map(_percent, shares))} |"


def counts(condition: str) -> list[int]:
    """Runs a side for which there are enough runs."""
    return [count for count in RUNS if all(len(pool(name, condition)) >= 2 * count for name in configurations())]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    print(
        "| configuration | condition | runs | doubtful | why | CV | CV of the others |\n| --- | --- | ---: | ---: | --- | ---: | ---: |"
    )
    for *cells, spread, clean in summary():
        print(f"| {' | '.join(map(str, cells))} | {spread:.1f} % | {f'{clean:.1f} %' if clean == clean else '-'} |")
    for lines in (table(), candidates_table()):
        print()
        for line in lines:
            print(line, flush=True)
    print()
    for condition in CONDITIONS:
        print(condition, {name: disturbed(name, condition) for name in configurations()})
        for count in counts(condition):
            print(condition, count, EVERY_DRIFT, *map(_percent, rates(EVERY_DRIFT, condition, count)), flush=True)


if __name__ == "__main__":
    main()
