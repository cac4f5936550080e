"""Compare two sets of experiments: find differences that are larger than the noise."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark_core.doubts import doubts_of, warnings_of
from dlbs.config.declarations import Parameter
from dlbs.results.columns import hashable
from dlbs.results.grouping import distinguishing_names, group_label, groups, identity_names, ordered_keys, varying
from dlbs.results.runs import Record, status_of
from dlbs.results.statistics.ratio import FEWEST_RUNS, STATISTICS, Estimate, estimate_ratio
from dlbs.results.statistics.samples import THROUGHPUT, Sample, has_value, sample_of, usual_metric
from dlbs.results.statistics.verdicts import (
    DEFAULT_RULES,
    INCONCLUSIVE,
    REGRESSIONS,
    VERDICTS,
    Rules,
    needed_repeats,
    verdict_of,
)
from dlbs.text import counted, first_few, text

# What changes times and may change between runs, from the GPU outwards; for settings of GPUs, see `gpu_caution`.
_ENVIRONMENT = tuple(
    f"exp.env.{name}" for name in ("driver", "cuda", "rocm", "cudnn", "nccl", "torch", "python", "kernel", "cpu")
)


def is_fact(name: str) -> bool:
    """Whether a key is a fact about the machine or its software that a run detected."""
    return name.startswith(("exp.env.", "exp.sys.")) or name in {
        "exp.framework_version",
        "exp.device_title",
        "exp.dlbs_version",
        "exp.machine_warnings",
    }


def different_facts(sides: Sequence[Sequence[Record]], names: Iterable[str]) -> dict[str, list[list[str]]]:
    """Find facts whose values differ between the sides.

    Returns:
        Name → for each side, its different values as text; no values where no run knew the fact.
    """
    found = {}
    for name in names:
        values = [
            list(dict.fromkeys(text(record[name]) for record in side if record.get(name) is not None)) for side in sides
        ]
        if any(set(one) != set(values[0]) for one in values):
            found[name] = values
    return found


def changed_environment(
    a: Sequence[Record], b: Sequence[Record], known: Mapping[str, tuple[Any, ...]]
) -> dict[str, tuple[str, str]]:
    """Find versions and the CPU that the runs of both sides logged and that differ: possible causes of a difference.

    Args:
        a: Runs of one side.
        b: Runs of the other side.
        known: Differences that are reported anyway; a fact with the same values is left out.

    Returns:
        Name → its values on each side, as text.
    """
    reported = {tuple(map(text, values)) for values in known.values()}
    found = {}
    for name, (one, other) in different_facts((a, b), _ENVIRONMENT).items():
        words = (first_few(one), first_few(other))
        if all(words) and words not in reported:
            found[name] = words
    return found


_USUAL = ("exp.model", "exp.replica_batch")


def differences(sides: Sequence[Sequence[Record]], declarations: Mapping[str, Parameter]) -> dict[str, tuple[Any, ...]]:
    """Find parameters that have one value within each side, but not the same one on all sides.

    Returns:
        Name → its value on each side.
    """
    found = {}
    for name in identity_names([record for side in sides for record in side], declarations):
        values = [{hashable(record.get(name)) for record in side if name in record} for side in sides]
        if all(len(one) == 1 for one in values) and any(one != values[0] for one in values):
            found[name] = tuple(next(record[name] for record in side if name in record) for side in sides)
    return found


def matching_names(
    sides: Sequence[Sequence[Record]], declarations: Mapping[str, Parameter], left_out: Collection[str]
) -> list[str]:
    """Select as few parameters as possible that distinguish experiments within a side, model and batch first.

    Checking within sides leaves out texts composed of the compared parameter and others, such as command lines.
    """
    given = varying([record for side in sides for record in side], [name for name in _USUAL if name not in left_out])
    names = dict.fromkeys(given)
    for side in sides:
        names.update(dict.fromkeys(distinguishing_names(side, declarations, given=list(names), without=left_out)))
    return list(names)


_KEY = "results.malloc"
_RUN = ("exp.id", "exp.start_time", "exp.end_time", "results.time", "results.throughput")
_GPU_SETTINGS = {
    "exp.env.gpu_power_limit": "power limit of the GPU in W",
    "exp.sys.gpu.settings": "settings of the GPUs",
}
_EFFECT = "on CPUs, this alone makes models up to 2.7 times as fast"


def allocator_caution(a: Sequence[Record], b: Sequence[Record], sides: tuple[str, str]) -> str:
    """Warning if only one side kept freed memory for the next batch; empty otherwise.

    A program that does not log `results.malloc`, such as a third-party one, counts as using the default allocator settings.
    """
    found = [_settings(records) for records in (a, b)]
    if any(settings is None for settings in found):
        return ""
    keeps = ["keep" in (settings or ()) for settings in found]
    if keeps[0] == keeps[1]:
        return ""
    kept, other = (sides[0], sides[1]) if keeps[0] else (sides[1], sides[0])
    silent = "system" not in (found[keeps[0]] or ())
    said = f"and {other} does not log the setting" if silent else f"but not in {other}"
    return (
        f"memory freed by a batch was kept for the next one in {kept} (results.malloc), {said}: {_EFFECT};"
        " compare with -Pruntime.malloc=system"
    )


def gpu_caution(a: Sequence[Record], b: Sequence[Record], sides: tuple[str, str]) -> str:
    """Warning if GPUs of the same kind had other settings on the other side, such as a lower power limit; empty otherwise."""
    kinds = [_values(records, "exp.device_title") for records in (a, b)]
    if kinds[0] != kinds[1]:
        return ""
    for key, title in _GPU_SETTINGS.items():
        found = [_values(records, key) for records in (a, b)]
        if all(found) and found[0] != found[1]:
            words = [
                f"{first_few(sorted(values), ' or ')} in {side}" for values, side in zip(found, sides, strict=True)
            ]
            return f"{title} ({key}): {', '.join(words)}; this alone may change times"
    return ""


def _values(records: Sequence[Record], key: str) -> set[str]:
    """The different values of a key, or those in its lists, which have one for each GPU."""
    found = (record[key] for record in records if record.get(key) is not None)
    return {text(one) for value in found for one in (value if isinstance(value, list) else [value])} - {""}


def shared_runs_caution(a: Sequence[Record], b: Sequence[Record], sides: tuple[str, str]) -> str:
    """Warning if a run is on both sides, for example because one directory is inside the other; empty otherwise."""
    shared = len({*filter(None, map(_run, a))} & {*filter(None, map(_run, b))})
    if not shared:
        return ""
    verb = "is" if shared == 1 else "are"
    return f"{counted(shared, 'run')} {verb} both in {sides[0]} and in {sides[1]}, which hides differences: give paths without common logs"


def _run(record: Record) -> str | None:
    """Identity of a run: its experiment, start, end and result; None if the log has no start time."""
    return repr([record.get(key) for key in _RUN]) if "exp.start_time" in record else None


def _settings(records: Sequence[Record]) -> set[str] | None:
    """Allocator settings of successful runs; None if there are none, or if some did not run on a CPU."""
    ended = [record for record in records if "results.time" in record or "results.throughput" in record]
    if not ended or any(record.get("exp.device_type") == "gpu" for record in ended):
        return None
    return {str(record[_KEY]) for record in ended if _KEY in record}


@dataclass(frozen=True, slots=True)
class Match:
    """One experiment on both sides.

    Attributes:
        label: Label of the experiment.
        a: Records of side A, repeats of one experiment; may be empty.
        b: Records of side B.
        values: The quantity on each side, by the estimator's statistic of the runs; None if no run succeeded.
        estimate: Ratio of B to A with its interval; None if a side has no values.
        verdict: A key of `VERDICTS`.
        used: Number of runs on each side that the values come from.
        doubtful: Number of runs on each side that were left out because of warnings.
        notes: Notes for readers.
    """

    label: str
    a: tuple[Record, ...]
    b: tuple[Record, ...]
    values: tuple[float | None, float | None]
    estimate: Estimate | None
    verdict: str
    used: tuple[int, int] = (0, 0)
    doubtful: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Comparison:
    """Comparison of two sets of experiments.

    Attributes:
        metric: Key of the compared quantity.
        matches: Regressions first, then in the order of tables.
        differences: Parameters that have one value in all of A and another one in all of B: the compared ones.
        threshold: Largest relative difference that counts as the same.
        confidence: Confidence level of each interval.
        estimator: A key of `ESTIMATORS`.
        sides: Names of the two sides.
        environment: Facts in which the runs of A and B differ, such as the driver; not used for matching.
        cautions: Warnings about other differences between the sides.
    """

    metric: str
    threshold: float
    confidence: float
    estimator: str = "rank"
    sides: tuple[str, str] = ("A", "B")
    matches: list[Match] = field(default_factory=list)
    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    environment: dict[str, tuple[str, str]] = field(default_factory=dict)
    cautions: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Number of matches with each verdict."""
        found = Counter(match.verdict for match in self.matches)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def regressions(self) -> list[Match]:
        """Matches that a regression gate fails on."""
        return [match for match in self.matches if match.verdict in REGRESSIONS]


def compare(
    a: Sequence[Record],
    b: Sequence[Record],
    declarations: Mapping[str, Parameter],
    rules: Rules = DEFAULT_RULES,
    *,
    sides: tuple[str, str] = ("A", "B"),
    labels: Mapping[tuple[Any, ...], str] | None = None,
) -> Comparison:
    """Compare two sets of experiments.

    Experiments are matched by the parameters that distinguish them within A or within B. A parameter that has one value in all of A and another one in
    all of B is the compared one, and not used for matching. Doubtful runs, those that logged warnings, are left out if three others remain on each
    side. With fewer than three runs on a side, or with doubtful ones, the verdict is `inconclusive` unless they are trusted.

    Args:
        a: Baseline experiments.
        b: Experiments that are compared with them.
        declarations: Declared parameters, with those that identify an experiment.
        rules: Quantity, threshold, trusted runs, and parameters for matching.
        sides: Names of the two sides.
        labels: Values of the matching parameters → label; None for labels of the varied ones.

    Raises:
        LogError: The estimator is unknown, or numpy or scipy is not installed.
    """
    differing = differences((a, b), declarations)
    names = list(rules.match) or matching_names((a, b), declarations, {*differing, *rules.ignore})
    found_in = groups(a, names), groups(b, names)
    keys = ordered_keys({**found_in[1], **found_in[0]}, names)
    compared = {name: (one, other) for name, (one, other) in differing.items()}
    if labels is None:
        labels = labels_of([*a, *b], names)
    metric = rules.metric or usual_metric([*a, *b])
    made = Comparison(metric, rules.threshold, rules.each(len(keys)), rules.estimator, sides, differences=compared)
    made.environment = changed_environment(a, b, compared)
    cautions = (shared_runs_caution, allocator_caution, gpu_caution)
    made.cautions += filter(None, [caution(a, b, sides) for caution in cautions])
    trust = rules.trust_single_runs, rules.trust_doubtful
    for key in keys:
        found = tuple(found_in[0].get(key, ())), tuple(found_in[1].get(key, ()))
        made.matches.append(_matched(made, labels[key], *found, trust=trust))
    made.matches.sort(key=lambda match: match.verdict not in REGRESSIONS)
    return made


def labels_of(records: Sequence[Record], names: Sequence[str]) -> dict[tuple[Any, ...], str]:
    """Map values of the matching parameters to labels of the experiments with these values.

    Labels contain only parameters that all experiments of a match have in common: never a compared parameter or the repeat number.
    """
    shown = varying(records, names)
    return {key: group_label(group, shown, records) for key, group in groups(records, names).items()}


@dataclass(frozen=True, slots=True)
class _Side:
    """The compared runs of one side, and their problems."""

    sample: Sample | None
    left_out: int
    doubts: tuple[str, ...]
    notes: tuple[str, ...]


def _can_spare_doubtful(records: Sequence[Record], metric: str) -> bool:
    """Whether a side has enough runs, or all its runs, without those with warnings."""
    warned = [bool(warnings_of(record)) for record in records if has_value(record, metric)]
    return not any(warned) or warned.count(False) >= FEWEST_RUNS


def _side(name: str, records: Sequence[Record], metric: str, *, leave_out: bool) -> _Side:
    valued = [record for record in records if has_value(record, metric)]
    clean = [record for record in valued if not warnings_of(record)]
    notes = []
    if valued and len(valued) < len(records):
        lost = len(records) - len(valued)
        notes.append(f"{name}: {lost} of {counted(len(records), 'run')} {'has' if lost == 1 else 'have'} no value")
    if len(clean) == len(valued):
        return _Side(sample_of(valued, metric), 0, (), tuple(notes))
    doubtful = [record for record in valued if warnings_of(record)]
    reasons = _reasons(doubtful)
    said = f"{name}: {len(doubtful)} of {counted(len(valued), 'run')} {'is' if len(doubtful) == 1 else 'are'} doubtful ({reasons})"
    if leave_out:
        return _Side(sample_of(clean, metric), len(doubtful), (), (*notes, f"{said} and left out"))
    return _Side(sample_of(valued, metric), 0, (said,), tuple(notes))


def _reasons(doubtful: Sequence[Record]) -> str:
    """Kinds of the warnings, most frequent first; only the beginning of each, without the advice."""
    counts = Counter(kind for record in doubtful for kind in doubts_of(record))
    shown = sorted(counts, key=lambda kind: (-counts[kind], kind))[:2]
    return "; ".join([*shown, *(["…"] if len(counts) > len(shown) else [])])


def _matched(
    comparison: Comparison, label: str, a: tuple[Record, ...], b: tuple[Record, ...], *, trust: tuple[bool, bool]
) -> Match:
    """Compare the runs of one experiment. `trust`: few runs, and doubtful ones."""
    metric = comparison.metric
    # On both sides or on neither: clean and disturbed runs would differ even with the same code.
    leave_out = _can_spare_doubtful(a, metric) and _can_spare_doubtful(b, metric)
    sides = [
        _side(name, runs, metric, leave_out=leave_out) for name, runs in zip(comparison.sides, (a, b), strict=True)
    ]
    one, other = sides[0].sample, sides[1].sample
    notes = [note for side in sides for note in side.notes]
    values = tuple(None if sample is None else _value(sample, comparison) for sample in (one, other))
    used = tuple(0 if sample is None else sample.runs for sample in (one, other))
    if one is None or other is None:
        verdict, why = _one_sided(a, b, one is None, other is None)
        return Match(label, a, b, (values[0], values[1]), None, verdict, (used[0], used[1]), notes=(*notes, *why))
    # A throughput is the inverse of a time per instance.
    above, below = (one, other) if metric == THROUGHPUT else (other, one)
    estimate = estimate_ratio(above, below, comparison.estimator, comparison.confidence)
    left_out = sides[0].left_out, sides[1].left_out
    fewest = min(one.runs, other.runs)
    doubts = [doubt for side in sides for doubt in side.doubts]
    notes += doubts
    if estimate is None:
        notes.append(_no_ratio(comparison.sides, (one, other)))
        return Match(
            label, a, b, (values[0], values[1]), None, INCONCLUSIVE, (used[0], used[1]), left_out, tuple(notes)
        )
    verdict = verdict_of(metric, estimate.interval, comparison.threshold)
    few, doubted = fewest < FEWEST_RUNS and not trust[0], bool(doubts) and not trust[1]
    if few or doubted:
        verdict = INCONCLUSIVE
        notes.append(_remedy(fewest, few, doubted))
    elif verdict == INCONCLUSIVE and estimate.interval is None:
        notes.append(f"no interval: {_ENOUGH} (-Pexp.repeats={FEWEST_RUNS})")
    elif verdict == INCONCLUSIVE:
        notes.append(needed_repeats(estimate, comparison.threshold, fewest))
    return Match(label, a, b, (values[0], values[1]), estimate, verdict, (used[0], used[1]), left_out, tuple(notes))


def _no_ratio(names: tuple[str, str], samples: tuple[Sample, Sample]) -> str:
    """Note on values that are not positive, which more runs would not change."""
    found = [name for name, sample in zip(names, samples, strict=True) if min(sample.values) <= 0]
    return f"no ratio: {' and '.join(found)} {'has' if len(found) == 1 else 'have'} values that are not positive"


_ENOUGH = f"run each at least {FEWEST_RUNS} times"


def _remedy(fewest: int, few: bool, doubted: bool) -> str:
    """Advice for a verdict if there are too few runs, or doubtful ones."""
    repeats = f"(-Pexp.repeats={FEWEST_RUNS} --order round-robin)"
    if few and doubted:
        return (
            f"too few runs ({fewest} per side), with warnings: {_ENOUGH} on an idle machine {repeats}, "
            "or override with --trust-single-runs --trust-doubtful"
        )
    if few:
        return f"too few runs ({fewest} per side): {_ENOUGH} {repeats}, or override with --trust-single-runs"
    return f"rerun on an idle machine until {FEWEST_RUNS} runs per side have no warnings, or override with --trust-doubtful"


def _one_sided(a: tuple[Record, ...], b: tuple[Record, ...], no_a: bool, no_b: bool) -> tuple[str, list[str]]:
    """Verdict if a side has no values, and the reason."""
    if not a or not b:
        return ("new" if not a else "missing"), []
    statuses = [", ".join(sorted(set(map(status_of, side)))) for side in (a, b)]
    why = [f"{statuses[0]} → {statuses[1]}"]
    messages = [
        next((text(one["exp.status_msg"]) for one in side if status_of(one) != "ok" and one.get("exp.status_msg")), "")
        for side in (a, b)
    ]
    why += filter(None, dict.fromkeys(messages))
    if no_a and no_b:
        return "failed", why
    return ("fixed" if no_a else "broken"), why


def _value(sample: Sample, comparison: Comparison) -> float:
    if comparison.metric == THROUGHPUT and comparison.estimator == "rank":
        return statistics.median(
            1 / value for value in sample.values
        )  # for an even number of runs, not the inverse of the median time
    value = STATISTICS[comparison.estimator](sample)
    return 1 / value if comparison.metric == THROUGHPUT else value
