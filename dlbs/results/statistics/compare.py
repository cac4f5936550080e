"""What differs between two sets of experiments, and whether that is more than noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import describe, distinguishing_names, groups, hashable, identity_names, ordered_keys
from dlbs.results.keys import better_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.intervals import FEWEST_RUNS, Interval, Sample, ratio_interval
from dlbs.text import text

__all__ = ["REGRESSIONS", "VERDICTS", "Comparison", "Match", "compare"]

_THROUGHPUT, _TIME = "results.throughput", "results.time"

# What a match can come to. `better` and `worse` are for quantities that are no speeds, such as memory.
VERDICTS = {
    "slower": "the whole interval is beyond the threshold",
    "worse": "the whole interval is beyond the threshold",
    "broken": "ended well in A and not in B",
    "missing": "in A, but not in B",
    "faster": "the whole interval is beyond the threshold",
    "better": "the whole interval is beyond the threshold",
    "fixed": "ended well in B and not in A",
    "new": "in B, but not in A",
    "same": "the whole interval is within the threshold",
    "inconclusive": "the interval reaches over a threshold, or there is none",
    "failed": "ended well in neither",
}

REGRESSIONS = frozenset({"slower", "worse", "broken", "missing"})


@dataclass(frozen=True, slots=True)
class Match:
    """One experiment on both sides.

    Attributes:
        label: What it is, in words.
        a: Records of side A, repeats of one experiment; may be empty.
        b: Records of side B.
        values: The quantity on both sides; None where no run ended well.
        ratio: B over A.
        interval: Confidence interval of the ratio.
        source: What the interval is from: `runs` or `batches`; empty if there is none.
        verdict: A key of `VERDICTS`.
        notes: What a reader should know.
    """

    label: str
    a: tuple[Record, ...]
    b: tuple[Record, ...]
    values: tuple[float | None, float | None]
    ratio: float | None
    interval: Interval | None
    source: str
    verdict: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Comparison:
    """Two sets of experiments beside each other.

    Attributes:
        metric: The key of the compared quantity.
        matches: Regressions first, then in the order of tables.
        differences: Parameters that have one value in A and another one in B: what is compared.
        threshold: Share by which a ratio may differ from 1 and count as the same.
        confidence: Of each interval.
    """

    metric: str
    threshold: float
    confidence: float
    matches: list[Match] = field(default_factory=list)
    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many matches came to each verdict."""
        found = Counter(match.verdict for match in self.matches)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def regressions(self) -> list[Match]:
        """Matches that a gate should stop at."""
        return [match for match in self.matches if match.verdict in REGRESSIONS]


def compare(
    a: Sequence[Record],
    b: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    metric: str = _THROUGHPUT,
    threshold: float = 0.03,
    confidence: float = 0.95,
    simultaneous: bool = False,
    match: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Comparison:
    """Compare two sets of experiments.

    Experiments are matched by the parameters that tell them apart within A or within B. A parameter that has one value in all of A and another one in
    all of B is not looked at for matching: it is what is compared.

    Args:
        a: The experiments that others are compared with.
        b: The others.
        declarations: Say which parameters identify an experiment.
        metric: Key of the quantity.
        threshold: Share by which a ratio may differ from 1 and count as the same.
        confidence: Of an interval.
        simultaneous: Make the intervals so wide that all of them together have this confidence (Bonferroni).
        match: Match by these parameters alone.
        ignore: Parameters that are not to tell experiments apart; those that differ in them only are repeats.

    Raises:
        LogError: numpy is not installed.
    """
    differences = _differences(a, b, declarations)
    names = list(match) or _matching_names(a, b, declarations, {*differences, *ignore})
    sides = groups(a, names), groups(b, names)
    keys = ordered_keys({**sides[1], **sides[0]}, names)
    each = 1 - (1 - confidence) / max(1, len(keys)) if simultaneous else confidence
    made = Comparison(metric, threshold, each, differences=differences)
    for key in keys:
        found = tuple(sides[0].get(key, ())), tuple(sides[1].get(key, ()))
        label = describe((*found[0], *found[1])[0], names) or "all experiments"
        made.matches.append(_matched(label, *found, metric=metric, threshold=threshold, confidence=each))
    made.matches.sort(key=lambda match: match.verdict not in REGRESSIONS)
    return made


def _differences(
    a: Sequence[Record], b: Sequence[Record], declarations: Mapping[str, Parameter]
) -> dict[str, tuple[Any, Any]]:
    found = {}
    for name in identity_names([*a, *b], declarations):
        sides = [{hashable(record.get(name)) for record in side if name in record} for side in (a, b)]
        if all(len(values) == 1 for values in sides) and sides[0] != sides[1]:
            one, other = (next(record[name] for record in side if name in record) for side in (a, b))
            found[name] = one, other
    return found


def _matching_names(
    a: Sequence[Record], b: Sequence[Record], declarations: Mapping[str, Parameter], left_out: set[str]
) -> list[str]:
    usual = ("exp.model", "exp.replica_batch")
    given = [name for name in usual if name not in left_out and any(name in record for record in (*a, *b))]
    names = dict.fromkeys(given)
    for side in (a, b):
        names.update(dict.fromkeys(distinguishing_names(side, declarations, given=list(names), without=left_out)))
    return list(names)


def _matched(
    label: str, a: tuple[Record, ...], b: tuple[Record, ...], *, metric: str, threshold: float, confidence: float
) -> Match:
    one, other = samples = _sample(a, metric), _sample(b, metric)
    notes = [
        f"{len(side) - sample.runs} of {len(side)} runs in {name} have no value"
        for name, side, sample in (("A", a, samples[0]), ("B", b, samples[1]))
        if sample is not None and sample.runs < len(side)
    ]
    values = tuple(None if sample is None else _value(sample, metric) for sample in samples)
    if one is None or other is None:
        if not a or not b:
            verdict = "new" if not a else "missing"
        elif one is None and other is None:
            verdict = "failed"
        else:
            verdict = "broken" if other is None else "fixed"
        statuses = [", ".join(sorted(set(map(status_of, side)))) for side in (a, b)]
        if a and b:
            notes.append(f"{statuses[0]} → {statuses[1]}")
            message = next((text(record["exp.status_msg"]) for record in b if record.get("exp.status_msg")), "")
            notes += [message] if message and verdict == "broken" else []
        return Match(label, a, b, (values[0], values[1]), None, None, "", verdict, tuple(notes))
    # A throughput is the inverse of a time for each instance, of which means may be taken.
    above, below = (one, other) if metric == _THROUGHPUT else (other, one)
    if below.mean() > 0:
        ratio: float | None = above.mean() / below.mean()
        interval, source = ratio_interval(above, below, confidence)
    else:
        ratio, interval, source = None, None, ""
    verdict = _verdict(metric, interval, threshold)
    if interval is None:
        notes.append(f"no interval: run it {FEWEST_RUNS} times at least (exp.repeats)")
    elif verdict == "inconclusive" and ratio is not None:
        notes.append(_what_would_tell(ratio, interval, source, threshold, min(one.runs, other.runs)))
    return Match(label, a, b, (values[0], values[1]), ratio, interval, source, verdict, tuple(notes))


def _sample(records: Sequence[Record], metric: str) -> Sample | None:
    """The values of those runs that ended well and have some."""
    series, scale = [], []
    for record in records:
        value = number(record, metric) if status_of(record) == "ok" else None
        if value is None or (metric == _THROUGHPUT and value <= 0):
            continue
        times = record.get("results.time_data") if metric in (_THROUGHPUT, _TIME) else None
        plain = isinstance(times, list) and all(isinstance(time, (int, float)) and time > 0 for time in times)
        values = tuple(map(float, times)) if plain and times else (1.0,)
        target = 1 / value if metric == _THROUGHPUT else value
        series.append(values)
        scale.append(target / (math.fsum(values) / len(values)))
    return Sample(tuple(series), tuple(scale)) if series else None


def _value(sample: Sample, metric: str) -> float:
    return 1 / sample.mean() if metric == _THROUGHPUT else sample.mean()


def _verdict(metric: str, interval: Interval | None, threshold: float) -> str:
    if interval is None:
        return "inconclusive"
    low, high = interval.low, interval.high
    if 1 - threshold <= low and high <= 1 + threshold:
        return "same"
    is_speed = metric in (_THROUGHPUT, _TIME) or "throughput" in metric or metric.startswith("results.time")
    good, bad = ("faster", "slower") if is_speed else ("better", "worse")
    if better_of(metric) < 0:
        good, bad = bad, good
    if low > 1 + threshold:
        return good
    if high < 1 - threshold:
        return bad
    return "inconclusive"


def _what_would_tell(ratio: float, interval: Interval, source: str, threshold: float, runs: int) -> str:
    """How many repeats would make the interval so narrow that it no longer reaches over a threshold, if the ratio stays."""
    if source == "batches":
        return "runs may differ more than batches do: repeat it (exp.repeats=5)"
    half = (interval.high - interval.low) / 2
    distance = min(abs(ratio - 1 - threshold), abs(ratio - 1 + threshold))
    if distance * 10 < half:
        return "too close to the threshold to be told with a reasonable number of repeats"
    return f"about {max(runs + 1, math.ceil(runs * (half / distance) ** 2))} repeats would tell"
