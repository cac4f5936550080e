"""Compare sets of experiments, or the values of a parameter, with the first one: find differences that are larger than the noise."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from benchmark_core.text import truth
from dlbs.core.errors import LogError, require, suggestion
from dlbs.core.experiment import TITLES
from dlbs.core.text import counted, first_few, text
from dlbs.results.changes import changes
from dlbs.results.columns import ABSENT, hashable
from dlbs.results.grouping import distinguishing_names, group_label, identity_names, ordered_keys, varying
from dlbs.results.keys import better_of, check_known
from dlbs.results.runs import THROUGHPUT, Record, Runs, usual_metric
from dlbs.results.statistics import ratio
from dlbs.results.statistics.ratio import INCONCLUSIVE, REGRESSIONS, Rules

if TYPE_CHECKING:
    import pandas as pd

# What changes times and may change between runs, from the GPU outwards; for settings of GPUs, see `gpu_caution`.
_NAMES = "driver gpu_vbios cuda rocm cudnn nccl torch blas mkl onednn compiler python kernel cpu microcode firmware"
_ENVIRONMENT = tuple(f"exp.env.{name}" for name in _NAMES.split())


def is_fact(name: str) -> bool:
    """Whether a key is a fact about the machine or its software that a run detected."""
    return name.startswith(("exp.env.", "exp.sys.")) or name in {
        "exp.framework_version",
        "exp.device_title",
        "exp.dlbs_version",
        "exp.code.commit",
        "exp.code.branch",
        "exp.code.tag",
        "exp.code.diff",
        "exp.software.python",
        "exp.software.packages",
        "exp.machine_warnings",
    }


def different_facts(sides: Sequence[Runs], names: Iterable[str]) -> dict[str, list[list[str]]]:
    """Find facts whose values differ between the sides.

    Returns:
        Name → for each side, its different values as text; no values where no run knew the fact.
    """
    found = {}
    for name in names:
        values = [
            list(dict.fromkeys(text(value) for value in side.present(name) if value is not None)) for side in sides
        ]
        if any(set(one) != set(values[0]) for one in values):
            found[name] = values
    return found


def changed_environment(a: Runs, b: Runs, known: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[str, str]]:
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


_USUAL = ("exp.model", "command.line", "exp.replica_batch")


def differences(sides: Sequence[Runs]) -> dict[str, tuple[Any, ...]]:
    """Find parameters that have one value within each side, but not the same one on all sides.

    Returns:
        Name → its value on each side.
    """
    found = {}
    for name in identity_names(_all(sides)):
        values = [side.present(name) for side in sides]
        distinct = [set(map(hashable, one)) for one in values]
        if all(len(one) == 1 for one in distinct) and any(one != distinct[0] for one in distinct):
            found[name] = tuple(one[0] for one in values)
    return found


def _independent(found: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Differences without the words of a command, which follow from its line and parameters."""
    return {name: values for name, values in found.items() if name != "command.argv" or len(found) == 1}


def side_by_side(sides: Sequence[Iterable[Record]]) -> tuple[Runs, list[Runs]]:
    """Runs of all sides, and those of each side, as runs of one table."""
    given = [Runs.of(side) for side in sides]
    if all(side.table is given[0].table for side in given):
        return _all(given), given
    everything = Runs.together(given)
    ends = list(accumulate(map(len, given)))
    return everything, [everything[end - len(side) : end] for side, end in zip(given, ends, strict=True)]


def _all(sides: Iterable[Runs]) -> Runs:
    """The runs of all sides, which are runs of one table."""
    sides = list(sides)
    if len(sides) < 2:
        return sides[0] if sides else Runs.of(())
    return sides[0].take([row for side in sides for row in side.rows])


def matching_names(sides: Sequence[Runs], left_out: Collection[str]) -> list[str]:
    """Select as few parameters as possible that distinguish experiments within a side, model and batch first.

    Checking within sides leaves out texts composed of the compared parameter and others, such as command lines.
    """
    given = varying(_all(sides), [name for name in _USUAL if name not in left_out])
    names = dict.fromkeys(given)
    for side in sides:
        names.update(dict.fromkeys(distinguishing_names(side, given=list(names), without=left_out)))
    return list(names)


_KEY = "results.malloc"
_RUN = ("exp.id", "exp.start_time", "exp.end_time", "results.time", "results.throughput")
_GPU_SETTINGS = {
    "exp.env.gpu_power_limit": "power limit of the GPU in W",
    "exp.sys.gpu.settings": "settings of the GPUs",
}
_EFFECT = "on CPUs, this alone makes models up to 2.7 times as fast"


def allocator_caution(a: Runs, b: Runs, sides: tuple[str, str]) -> str:
    """Warning if only one side kept freed memory for the next batch; empty otherwise.

    A program that does not log `results.malloc`, such as a third-party one, counts as using the default allocator settings.
    """
    found = [_settings(runs) for runs in (a, b)]
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


def gpu_caution(a: Runs, b: Runs, sides: tuple[str, str]) -> str:
    """Warning if GPUs of the same kind had other settings on the other side, such as a lower power limit; empty otherwise."""
    kinds = [_values(runs, "exp.device_title") for runs in (a, b)]
    if kinds[0] != kinds[1]:
        return ""
    for key, title in _GPU_SETTINGS.items():
        found = [_values(runs, key) for runs in (a, b)]
        if all(found) and found[0] != found[1]:
            words = [
                f"{first_few(sorted(values), ' or ')} in {side}" for values, side in zip(found, sides, strict=True)
            ]
            return f"{title} ({key}): {', '.join(words)}; this alone may change times"
    return ""


def _values(runs: Runs, key: str) -> set[str]:
    """The different values of a key, or those in its lists, which have one for each GPU."""
    return {text(one) for value in runs.present(key) for one in (value if isinstance(value, list) else [value])} - {""}


def unit_caution(a: Runs, b: Runs, sides: tuple[str, str]) -> str:
    """Warning if throughputs count other instances on the other side, such as sequences instead of images; empty otherwise."""
    one, other = (sorted(_values(runs, "results.unit")) for runs in (a, b))
    if not one or not other or one == other:
        return ""
    return f"throughput counts {first_few(one)} in {sides[0]} and {first_few(other)} in {sides[1]}: ratios between them mean little"


def shared_runs_caution(a: Runs, b: Runs, sides: tuple[str, str]) -> str:
    """Warning if a run is on both sides, for example because one directory is inside the other; empty otherwise."""
    shared = len(_identities(a) & _identities(b))
    if not shared:
        return ""
    verb = "is" if shared == 1 else "are"
    return f"{counted(shared, 'run')} {verb} both in {sides[0]} and in {sides[1]}, which hides differences: give paths without common logs"


def _identities(runs: Runs) -> set[tuple[int, ...]]:
    """Identities of runs within their table: experiment, start, end and result; none of a run whose log has no start time."""
    started = _with_any(runs, "exp.start_time")
    return set(zip(*(started.classes(key)[1] for key in _RUN), strict=True))


def _with_any(runs: Runs, *names: str) -> Runs:
    """The runs that have one of these keys."""
    columns = [runs.codes(column) for name in names if (column := runs.table.column(name)) is not None]
    return runs.where(max(codes) >= 0 for codes in zip(*columns, strict=True))


def _settings(runs: Runs) -> set[str] | None:
    """Allocator settings of successful runs; None if there are none, or if some did not run on a CPU."""
    ended = _with_any(runs, "results.time", "results.throughput")
    if not ended or "gpu" in ended.distinct("exp.device_type"):
        return None
    return set(map(str, ended.present(_KEY)))


@dataclass(frozen=True, slots=True)
class Match:
    """One experiment on both sides.

    Attributes:
        label: Label of the experiment.
        a: Runs of side A, repeats of one experiment; may be empty.
        b: Runs of side B.
        values: The quantity on each side, by the estimator's statistic of the runs; None if no run succeeded.
        estimate: Ratio of B to A with its interval; None if a side has no values.
        verdict: A key of `VERDICTS`.
        used: Number of runs on each side that the values come from.
        doubtful: Number of runs on each side that were left out because of warnings.
        notes: Notes for readers.
    """

    label: str
    a: Runs
    b: Runs
    values: tuple[float | None, float | None]
    estimate: ratio.Estimate | None
    verdict: str
    used: tuple[int, int] = (0, 0)
    doubtful: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


class _Presented:
    """Methods for notebooks. Tables are loaded by name, because they are made from comparisons."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._tables().summary(self)}>"

    def _repr_html_(self) -> str:
        formats = require("dlbs.results.tables.formats", "reports")
        return str(formats.html_tables([self._tables().comparison_table(self)]))

    def to_frame(self) -> pd.DataFrame:
        """Convert to a pandas frame with a row for each experiment (and value): values, ratio, interval, verdict.

        Raises:
            LogError: pandas is not installed.
        """
        made: pd.DataFrame = require("pandas", "reports").DataFrame(self._tables().flat_rows(self))
        return made

    @staticmethod
    def _tables() -> Any:
        return require("dlbs.results.tables.comparison", "reports")


@dataclass(slots=True, repr=False)
class Comparison(_Presented):
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
        changes: Differences in code and software, as by `changes.changes`.
        sources: The paths or queries of the two sides; empty if they are unknown.
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
    changes: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def over(self) -> str:
        """Name of the ratio: `B over A`."""
        return f"{self.sides[1]} over {self.sides[0]}"

    @property
    def comparisons(self) -> list[Comparison]:
        """This one: two sides are one comparison with the first."""
        return [self]

    @property
    def rows(self) -> list[tuple[str, list[tuple[Any, Comparison, Match]]]]:
        """Each experiment with its match, as `ComparisonBy.rows`."""
        return [(match.label, [(None, self, match)]) for match in self.matches]

    def runs(self, *sides: int) -> Runs:
        """The runs of all matches on these sides, 0 and 1."""
        return _all((match.a, match.b)[side] for match in self.matches for side in sides)

    @property
    def counts(self) -> dict[str, int]:
        """Number of matches with each verdict."""
        found = Counter(match.verdict for match in self.matches)
        return {verdict: found[verdict] for verdict in ratio.VERDICTS if found[verdict]}

    @property
    def regressions(self) -> list[Match]:
        """Matches that a regression gate fails on."""
        return [match for match in self.matches if match.verdict in REGRESSIONS]


@dataclass(slots=True, repr=False)
class ComparisonBy(_Presented):
    """Comparison of the values of one parameter, or of the combinations of several.

    Attributes:
        name: The parameter; for several, their names, and values are texts such as `keep + replica_batch=16`.
        baseline: The baseline value.
        comparisons: One for each other value, in the plan's order: A is the baseline, B the value.
        values: The other values, in the same order.
        experiments: Labels of the groups of otherwise equal experiments, in the order of tables.
        differences: Parameters that change together with this one: name → its value with the baseline, then with each other value.
        left_out: Number of experiments without the parameter.
        parameters: The parameters, one or several.
    """

    name: str
    baseline: Any
    comparisons: list[Comparison] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    experiments: list[str] = field(default_factory=list)
    differences: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    left_out: int = 0
    parameters: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Map each value, as text, to the number of experiments with each verdict."""
        return {text(value): comparison.counts for value, comparison in zip(self.values, self.comparisons, strict=True)}

    @property
    def regressions(self) -> list[Match]:
        """Matches that a regression gate fails on."""
        return [match for comparison in self.comparisons for match in comparison.regressions]

    @property
    def rows(self) -> list[tuple[str, list[tuple[Any, Comparison, Match]]]]:
        """Each group of otherwise equal experiments, with the matches of all other values."""
        found: dict[str, list[tuple[Any, Comparison, Match]]] = {experiment: [] for experiment in self.experiments}
        for value, comparison in zip(self.values, self.comparisons, strict=True):
            for match in comparison.matches:
                found[match.label].append((value, comparison, match))
        return [(experiment, found[experiment]) for experiment in self.experiments]


def compare(
    a: Iterable[Record],
    b: Iterable[Record],
    rules: Rules = ratio.DEFAULT_RULES,
    *,
    sides: tuple[str, str] = ("A", "B"),
    sources: Sequence[str] = (),
) -> Comparison:
    """Compare two sets of experiments.

    Experiments are matched by the parameters that distinguish them within A or within B. A parameter that has one value in all of A and another one in
    all of B is the compared one, and not used for matching. Doubtful runs, those that logged warnings, are left out if three others remain on each
    side. With fewer than three runs on a side, or with doubtful ones, the verdict is `inconclusive` unless they are trusted.

    Args:
        a: Baseline experiments.
        b: Experiments that are compared with them.
        rules: Quantity, threshold, trusted runs, and parameters for matching.
        sides: Names of the two sides.
        sources: Their paths or queries, for readers.

    Raises:
        LogError: The estimator is unknown, or numpy or scipy is not installed.
    """
    _, given = side_by_side((a, b))
    compared = _Compared.of(given, rules, differences(given))
    count = len(compared.groups[0].keys() | compared.groups[1].keys())
    made = compared.with_first(1, sides, rules, rules.each(count))
    made.sources = tuple(sources)
    return made


@dataclass(frozen=True, slots=True)
class _Compared:
    """Sides whose experiments are matched.

    Attributes:
        sides: Runs of one table; the first is the baseline.
        groups: Of each side: values of the matching parameters → the runs of an experiment.
        names: The matching parameters.
        labels: Values of the matching parameters → label of the experiments, in the order of tables.
        metric: Key of the compared quantity.
    """

    sides: Sequence[Runs]
    groups: Sequence[Mapping[tuple[Any, ...], Runs]]
    names: Sequence[str]
    labels: Mapping[tuple[Any, ...], str]
    metric: str

    @classmethod
    def of(cls, sides: Sequence[Runs], rules: Rules, left_out: Collection[str]) -> _Compared:
        """Match the experiments of the sides, without these parameters."""
        names = list(rules.match) or matching_names(sides, {*left_out, *rules.ignore})
        everything = _all(sides)
        # Labels contain only parameters that all experiments of a match have in common: never a compared one or the repeat number.
        shown = varying(everything, names)
        groups: dict[tuple[Any, ...], Any] = everything.group(names)
        of = sides if rules.by is None else []
        labels = {key: group_label(groups[key], shown, of, everything) for key in ordered_keys(groups, names)}
        return cls(
            sides, [side.group(names) for side in sides], names, labels, rules.metric or usual_metric(everything)
        )

    def with_first(self, at: int, titles: tuple[str, str], rules: Rules, confidence: float) -> Comparison:
        """Compare one side with the first."""
        a, b = self.sides[0], self.sides[at]
        differing = differences((a, b))
        made = Comparison(self.metric, rules.threshold, confidence, rules.estimator, titles)
        made.differences = {name: (one, other) for name, (one, other) in _independent(differing).items()}
        made.changes = changes(a, b)
        made.environment = changed_environment(a, b, made.differences)
        cautions = [shared_runs_caution, allocator_caution, gpu_caution, *[unit_caution] * (self.metric == THROUGHPUT)]
        made.cautions += filter(None, [caution(a, b, titles) for caution in cautions])
        first, second = self.groups[0], self.groups[at]
        nothing = a.take([])
        trust = rules.trust_single_runs, rules.trust_doubtful
        keys: dict[tuple[Any, ...], Any] = {**second, **first}
        for key in ordered_keys(keys, self.names):
            found = first.get(key, nothing), second.get(key, nothing)
            made.matches.append(_matched(made, self.labels[key], *found, trust=trust))
        made.matches.sort(key=lambda match: match.verdict not in REGRESSIONS)
        return made


_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
MOST_VALUES = 50  # more suggest a measured quantity or a time, not a varied parameter


def compare_by(records: Iterable[Record], rules: Rules) -> ComparisonBy:
    """Compare the values of one parameter, or the combinations of several, within one set of experiments.

    Experiments that are equal in all other distinguishing parameters are compared, by the estimators and rules of `compare`. Parameters that follow
    from this one (one value for each of its values) are not used for matching.

    Args:
        records: All experiments; those without the parameter are left out.
        rules: As for `compare`, with the parameter as `by`, several separated by commas; simultaneous intervals include all values and groups.

    Raises:
        LogError: The parameter is unknown, has one value or too many, the baseline is not one of them, or no two experiments differ in it alone.
    """
    by = rules.by
    if by is None:
        raise LogError("names no parameter to compare", where="--by")
    runs, given_baseline = Runs.of(records), rules.baseline
    parameters = tuple(name.strip() for name in by.split(","))
    if len(parameters) > 1:
        runs, by, given_baseline = _combined(runs, parameters, given_baseline)
    sides = _sides(runs, by)
    first = _baseline(sides, by, given_baseline)
    sides = {first: sides[first], **sides}  # the baseline first, the others in order
    given = list(sides.values())
    differing = differences(given)
    own = {by, *parameters}
    # Settings may follow from the compared one; other software is another experiment, unless software is compared.
    is_software = not own.isdisjoint((*TITLES, "exp.pack"))
    followers = [name for name in differing if is_software or name not in TITLES]
    compared = _Compared.of(given, rules, {*own, *followers})
    keys = [side.keys() for side in compared.groups]
    if not any(keys[0] & other for other in keys[1:]):
        raise _nothing_in_common(by, compared)
    baseline = given[0][0][by]
    made = ComparisonBy(by, baseline, left_out=len(runs) - sum(map(len, given)), parameters=parameters)
    made.experiments = list(compared.labels.values())
    made.differences = {name: values for name, values in _independent(differing).items() if name not in own}
    confidence = rules.each(sum(len(keys[0] | other) for other in keys[1:]))
    for at, side in enumerate(given[1:], 1):
        value = side[0][by]
        made.values.append(value)
        titles = _label(by, baseline), _label(by, value)
        made.comparisons.append(compared.with_first(at, titles, rules, confidence))
    return made


def _exact(value: Any) -> str:
    return text(value) or "none"


def value_words(value: Any) -> str:
    """A value of a parameter in a table; of a commit, the first digits."""
    words = _exact(value)
    return words[:7] if _COMMIT.fullmatch(words) else words


@dataclass(frozen=True, slots=True)
class Best:
    """The best of several settings.

    Attributes:
        label: Its label.
        runs: Its runs that count.
        settings: Number of settings with a value.
        lost: Number of settings without one.
        others: The settings that are not significantly worse (B), the best ones first.
    """

    label: str
    runs: Runs
    settings: int
    lost: int
    others: list[Match]


def best_of(runs: Runs, names: Sequence[str], metric: str) -> Best | None:
    """Find the setting with the best median, and compare all others with it at a confidence level of 95 % for all of them together.

    So in 95 % of all cases, the one that is truly the best is it, or among the others returned. A setting is worse only if the whole interval of the
    ratio says so, from at least three runs of each without warnings.

    Args:
        runs: Runs of one benchmark.
        names: Parameters that distinguish settings.
        metric: Key of the quantity.

    Returns:
        None if no run has a value.
    """
    groups = runs.group(names)
    values = {}
    for key, group in groups.items():
        found = [value for value in that_count(group, metric).comparable(metric) if value is not None]
        if found:
            values[key] = statistics.median(found)
    if not values:
        return None
    ordered = sorted(values, key=values.__getitem__, reverse=better_of(metric) > 0)
    shown = varying(runs, names)
    label, best = group_label(groups[ordered[0]], shown, (), runs), groups[ordered[0]]
    confidence = Rules(simultaneous=True).each(len(values) - 1)
    made = Comparison(metric, 0.0, confidence, sides=(label, "it"))
    matches = [
        _matched(made, group_label(groups[key], shown, (), runs), best, groups[key], trust=(False, False))
        for key in ordered[1:]
    ]
    others = [match for match in matches if match.verdict not in REGRESSIONS]
    return Best(label, that_count(best, metric), len(values), len(groups) - len(values), others)


def that_count(runs: Runs, metric: str) -> Runs:
    """The runs with a value and without warnings, if these are enough for a comparison, or all."""
    valued = [value is not None for value in runs.comparable(metric)]
    clean = runs.where([has and not kinds for has, kinds in zip(valued, runs.doubts, strict=True)])
    return clean if len(clean) >= ratio.FEWEST_RUNS else runs


def _label(by: str, value: Any, words: Callable[[Any], str] = value_words) -> str:
    """Format a value for a sentence: `keep`, but `replica_batch=4` and `fused=true`."""
    if isinstance(value, str) and value:
        return words(value)
    return f"{by.rpartition('.')[2]}={words(value)}"


def _combined(runs: Runs, names: Sequence[str], baseline: Any) -> tuple[Runs, str, Any]:
    """Runs with the combination of the values of several parameters as another one, its name, and the value of the baseline, `keep,16`."""
    check_known(names, runs.names, f"--by {','.join(names)}")
    by = " + ".join(name.rpartition(".")[2] for name in names)

    def combined(run: Record) -> tuple[Any, str]:
        if not all(name in run for name in names):
            return ABSENT, ""
        # Exact: two commits may begin alike.
        return " + ".join(_label(name, run[name], _exact) for name in names), ",".join(
            _exact(run[name]) for name in names
        )

    found = runs.each(names, combined)
    plain = {words: value for value, words in found if value is not ABSENT}
    words = re.sub(r"\s*,\s*", ",", text(baseline))
    return runs.derived(by, [value for value, _ in found]), by, plain.get(words, baseline)


def _sides(runs: Runs, by: str) -> dict[Any, Runs]:
    """Group experiments by the value of a parameter, in the plan's order."""
    where = f"--by {by}"
    check_known([by], runs.names, where)
    sides = {value: side for (value,), side in _with_any(runs, by).group([by]).items()}
    if len(sides) == 1:
        (side,) = sides.values()
        what = (
            f"all {len(side)} experiments have {value_words(side[0][by])!r}"
            if len(side) > 1
            else "there is only one experiment"
        )
        raise LogError(f"{what}: nothing to compare", where=where, hint=f"vary it: dlbs run -V{by}=A,B")
    if len(sides) > MOST_VALUES:
        raise LogError(
            f"has {len(sides)} values, more than {MOST_VALUES}",
            where=where,
            hint="choose a varied parameter, or select experiments with --filter-query",
        )
    return sides


def _baseline(sides: Mapping[Any, Runs], by: str, baseline: Any) -> Any:
    if baseline is None:
        return next(iter(sides))
    if hashable(baseline) in sides:
        return hashable(baseline)
    words, given = {_exact(side[0][by]): value for value, side in sides.items()}, _exact(baseline)
    commits = [one for one in words if _COMMIT.fullmatch(one) and one.startswith(given)]
    if given in words or len(commits) == 1:
        return words[given if given in words else commits[0]]
    if commits:
        raise LogError(
            f"{len(commits)} values of {by} begin with it", where=f"--baseline {given}", hint="give more digits"
        )
    meant = truth(baseline)  # booleans have several spellings
    if meant is not None and hashable(meant) in sides:
        return hashable(meant)
    raise LogError(
        f"no experiment has {by} = {given}",
        where=f"--baseline {given}",
        hint=suggestion(given, [*map(value_words, words)], "its values are"),
    )


def _nothing_in_common(by: str, compared: _Compared) -> LogError:
    """Error for experiments that all differ in further parameters; it names the parameter if there is only one."""
    others = []
    for at, name in enumerate(compared.names):
        values = [{key[at] for key in side} for side in compared.groups]
        if all(values[0].isdisjoint(other) for other in values[1:]):
            others.append(name)
    shown = others or compared.names
    return LogError(
        f"no experiments with different values of it are equal otherwise: they also differ in {', '.join(shown)}",
        where=f"--by {by}",
        hint=f"--ignore {','.join(shown)} compares them anyway; --baseline selects another baseline",
    )


def _side(
    name: str, runs: Runs, valued: Runs, metric: str, *, leave_out: bool, within: bool
) -> tuple[ratio.Sample | None, int, list[str], list[str]]:
    """The compared runs of one side, the number of doubtful ones that were left out, warnings about the others, and notes."""
    notes = []
    if valued and len(valued) < len(runs):
        lost = len(runs) - len(valued)
        notes.append(f"{name}: {lost} of {counted(len(runs), 'run')} {'has' if lost == 1 else 'have'} no value")
    doubtful = [kinds for kinds in valued.doubts if kinds]
    if not doubtful:
        return ratio.sample_of(valued, metric, within=within), 0, [], notes
    # The kinds of the warnings, most frequent first; only the beginning of each, without the advice.
    counts = Counter(kind for kinds in doubtful for kind in kinds)
    shown = sorted(counts, key=lambda kind: (-counts[kind], kind))[:2]
    reasons = "; ".join([*shown, *(["…"] if len(counts) > len(shown) else [])])
    said = f"{name}: {len(doubtful)} of {counted(len(valued), 'run')} {'is' if len(doubtful) == 1 else 'are'} doubtful ({reasons})"
    if leave_out:
        clean = valued.where(not kinds for kinds in valued.doubts)
        notes.append(f"{said} and left out")
        return ratio.sample_of(clean, metric, within=within), len(doubtful), [], notes
    return ratio.sample_of(valued, metric, within=within), 0, [said], notes


def _matched(comparison: Comparison, label: str, a: Runs, b: Runs, *, trust: tuple[bool, bool]) -> Match:
    """Compare the runs of one experiment. `trust`: few runs, and doubtful ones.

    If at least three of each side took turns with each other, only those count, and as pairs.
    """
    metric = comparison.metric
    if len((partners := ratio.paired(a, b))[0]) >= ratio.FEWEST_RUNS:
        return _matched_pairs(comparison, label, (a, b), partners, trust_doubtful=trust[1])
    valued = [runs.where(value is not None for value in runs.comparable(metric)) for runs in (a, b)]
    clean = [sum(not kinds for kinds in runs.doubts) for runs in valued]
    # On both sides or on neither: clean and disturbed runs would differ even with the same code.
    leave_out = all(count >= min(ratio.FEWEST_RUNS, len(runs)) for count, runs in zip(clean, valued, strict=True))
    # The variation within runs counts only where there are too few of them.
    within = min(clean if leave_out else map(len, valued)) < ratio.FEWEST_RUNS
    sides = [
        _side(name, runs, ok, metric, leave_out=leave_out, within=within)
        for name, runs, ok in zip(comparison.sides, (a, b), valued, strict=True)
    ]
    (one, out_a, doubts_a, notes_a), (other, out_b, doubts_b, notes_b) = sides
    notes, doubts = [*notes_a, *notes_b], [*doubts_a, *doubts_b]
    values = _value(one, comparison), _value(other, comparison)
    used = one.runs if one else 0, other.runs if other else 0
    if one is None or other is None:
        verdict, why = _one_sided(a, b, one is None and not _lost(a), other is None and not _lost(b))
        return Match(label, a, b, values, None, verdict, used, notes=(*notes, *why))
    # A throughput is the inverse of a time per instance.
    above, below = (one, other) if metric == THROUGHPUT else (other, one)
    estimate = ratio.estimate_ratio(above, below, comparison.estimator, comparison.confidence)
    left_out = out_a, out_b
    fewest = min(one.runs, other.runs)
    notes += doubts
    if estimate is None:
        notes.append(_no_ratio(comparison.sides, (one, other)))
        return Match(label, a, b, values, None, INCONCLUSIVE, used, left_out, tuple(notes))
    verdict = ratio.verdict_of(metric, estimate.interval, comparison.threshold)
    few, doubted = fewest < ratio.FEWEST_RUNS and not trust[0], bool(doubts) and not trust[1]
    if few or doubted:
        verdict = INCONCLUSIVE
        notes.append(_remedy(fewest, few, doubted))
    elif verdict == INCONCLUSIVE and estimate.interval is None:
        notes.append(f"no interval: {_ENOUGH} (-Pexp.repeats={ratio.FEWEST_RUNS})")
    elif verdict == INCONCLUSIVE:
        notes.append(ratio.needed_repeats(estimate, comparison.threshold, fewest))
    return Match(label, a, b, values, estimate, verdict, used, left_out, tuple(notes))


def _matched_pairs(
    comparison: Comparison, label: str, sides: tuple[Runs, Runs], partners: tuple[Runs, Runs], *, trust_doubtful: bool
) -> Match:
    """Compare the runs of one experiment that took turns."""
    metric = comparison.metric
    a, b = (
        runs if trust_doubtful else runs.where(not ratio.is_doubtful(record) for record in runs) for runs in partners
    )
    a, b = ratio.paired(a, b)
    above, below = (a, b) if metric == THROUGHPUT else (b, a)
    pairs = ratio.pairs_of(above, below, metric)
    one, other = (ratio.sample_of(runs, metric, within=False) for runs in (a, b))
    values = _value(one, comparison), _value(other, comparison)
    notes = [
        f"{name}: {out} of {counted(len(runs), 'run')} left out, because {'it' if out == 1 else 'they'} took no turns or "
        "its pair is incomplete or doubtful"
        for name, runs, kept in zip(comparison.sides, sides, (a, b), strict=True)
        if (out := len(runs) - len(kept))
    ]
    disturbed, turns = sum(pair.disturbed for pair in pairs), sum(pair.turns + pair.disturbed for pair in pairs)
    if disturbed:
        notes.append(f"{disturbed} of {turns} turns were disturbed on one side only, and are left out")
    used = len(pairs), len(pairs)
    if not pairs:
        notes.append("no pair has values on both sides")
        return Match(label, *sides, values, None, INCONCLUSIVE, used, notes=tuple(notes))
    estimate = ratio.estimate_pairs(pairs, comparison.confidence)
    verdict = ratio.verdict_of(metric, estimate.interval, comparison.threshold)
    if verdict == INCONCLUSIVE and estimate.interval is not None:
        notes.append(
            ratio.needed_repeats(estimate, comparison.threshold, len(pairs)).replace(
                "repeats per side", "pairs (--turns)"
            )
        )
    return Match(label, *sides, values, estimate, verdict, used, notes=tuple(notes))


def _no_ratio(names: tuple[str, str], samples: tuple[ratio.Sample, ratio.Sample]) -> str:
    """Note on values that are not positive, which more runs would not change."""
    found = [name for name, sample in zip(names, samples, strict=True) if min(sample.values) <= 0]
    return f"no ratio: {' and '.join(found)} {'has' if len(found) == 1 else 'have'} values that are not positive"


_ENOUGH = f"run each at least {ratio.FEWEST_RUNS} times"


def _remedy(fewest: int, few: bool, doubted: bool) -> str:
    """Advice for a verdict if there are too few runs, or doubtful ones."""
    repeats = f"(-Pexp.repeats={ratio.FEWEST_RUNS} --order round-robin)"
    if few and doubted:
        return (
            f"too few runs ({fewest} per side), with warnings: {_ENOUGH} on an idle machine {repeats}, "
            "or override with --trust-single-runs --trust-doubtful"
        )
    if few:
        return f"too few runs ({fewest} per side): {_ENOUGH} {repeats}, or override with --trust-single-runs"
    return f"rerun on an idle machine until {ratio.FEWEST_RUNS} runs per side have no warnings, or override with --trust-doubtful"


def _one_sided(a: Runs, b: Runs, no_a: bool, no_b: bool) -> tuple[str, list[str]]:
    """Verdict if a side has no values, and the reason."""
    if not a or not b:
        return ("new" if not a else "missing"), []
    statuses = [", ".join(sorted(set(side.statuses))) for side in (a, b)]
    why = [f"{statuses[0]} → {statuses[1]}"]
    failed = [side.where(status != "ok" for status in side.statuses) for side in (a, b)]
    messages = [next((text(one) for one in side.values("exp.status_msg") if one), "") for side in failed]
    why += filter(None, dict.fromkeys(messages))
    if no_a and no_b:
        return "failed", why
    return ("fixed" if no_a else "broken"), why


def _lost(runs: Runs) -> bool:
    """Whether some runs have no value only because their partners in turns failed."""
    return any(runs.present("exp.lost_partner"))


def _value(sample: ratio.Sample | None, comparison: Comparison) -> float | None:
    if sample is None:
        return None
    if comparison.metric == THROUGHPUT and comparison.estimator == "rank":
        # For an even number of runs, not the inverse of the median time.
        return statistics.median(1 / value for value in sample.values)
    value = ratio.STATISTICS[comparison.estimator](sample)
    return 1 / value if comparison.metric == THROUGHPUT else value
