"""Compare the values of one parameter with a baseline within one set of experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark_core.text import truth
from dlbs.config.declarations import Parameter
from dlbs.errors import LogError, suggestion
from dlbs.results.columns import hashable
from dlbs.results.grouping import groups, ordered_keys
from dlbs.results.keys import check_known
from dlbs.results.runs import Record, Runs
from dlbs.results.statistics.compare import Comparison, Match, compare, differences, labels_of, matching_names
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.statistics.verdicts import Rules
from dlbs.text import text

MOST_VALUES = 50  # more suggest a measured quantity or a time, not a varied parameter


@dataclass(slots=True)
class ComparisonBy:
    """Comparison of the values of one parameter.

    Attributes:
        name: The parameter.
        baseline: The baseline value.
        comparisons: One for each other value, in the plan's order: A is the baseline, B the value.
        values: The other values, in the same order.
        experiments: Labels of the groups of otherwise equal experiments, in the order of tables.
        differences: Parameters that change together with this one: name → its value with the baseline, then with each other value.
        left_out: Number of experiments without the parameter.
    """

    name: str
    baseline: Any
    comparisons: list[Comparison] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    experiments: list[str] = field(default_factory=list)
    differences: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    left_out: int = 0

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Map each value, as text, to the number of experiments with each verdict."""
        return {text(value): comparison.counts for value, comparison in zip(self.values, self.comparisons, strict=True)}

    @property
    def regressions(self) -> list[Match]:
        """Matches that a regression gate fails on."""
        return [match for comparison in self.comparisons for match in comparison.regressions]

    def matches_of(self, experiment: str) -> list[tuple[Any, Comparison, Match]]:
        """Matches of all other values in one group of otherwise equal experiments."""
        return [
            (value, comparison, match)
            for value, comparison in zip(self.values, self.comparisons, strict=True)
            for match in comparison.matches
            if match.label == experiment
        ]


def compare_by(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    rules: Rules,
) -> ComparisonBy:
    """Compare the values of one parameter within one set of experiments.

    Experiments that are equal in all other distinguishing parameters are compared, by the estimators and rules of `compare`. Parameters that follow
    from this one (one value for each of its values) are not used for matching.

    Args:
        records: All experiments; those without the parameter are left out.
        declarations: Declared parameters, with those that identify an experiment.
        rules: As for `compare`, with the parameter as `by`; simultaneous intervals include all values and groups.

    Raises:
        LogError: The parameter is unknown, has one value or too many, the baseline is not one of them, or no two experiments differ in it alone.
    """
    by = rules.by
    if by is None:
        raise LogError("names no parameter to compare", where="--by")
    sides = _sides(records, by)
    first = _baseline(sides, by, rules.baseline)
    sides = {first: sides[first], **sides}  # the baseline first, the others in order
    given = list(sides.values())
    differing = differences(given, declarations)
    names = list(rules.match) or matching_names(given, declarations, {by, *differing, *rules.ignore})
    found = [groups(side, names) for side in given]
    if not any(found[0].keys() & other.keys() for other in found[1:]):
        raise _nothing_in_common(by, names, found)
    pairs = sum(len(found[0].keys() | other.keys()) for other in found[1:])
    compared = [record for side in given for record in side]
    labels = labels_of(compared, names)
    made = ComparisonBy(by, given[0][0][by], left_out=len(records) - sum(map(len, given)))
    made.experiments = [labels[key] for key in ordered_keys(groups(compared, names), names)]
    # The command line contains the parameter, so its change is redundant.
    composed = {"command.argv"} if len({record.get("command.line") for record in records}) == 1 else set()
    made.differences = {name: values for name, values in differing.items() if name not in {by, *composed}}
    each = replace(
        rules,
        by=None,
        metric=rules.metric or usual_metric(compared),
        confidence=rules.each(pairs),
        simultaneous=False,
        match=names,
        ignore=[*rules.ignore, *made.differences],
    )
    for side in given[1:]:
        made.values.append(side[0][by])
        made.comparisons.append(
            compare(
                given[0],
                side,
                declarations,
                each,
                labels=labels,
                sides=(_label(by, made.baseline), _label(by, side[0][by])),
            )
        )
    return made


def _words(value: Any) -> str:
    return text(value) or "none"


def _label(by: str, value: Any) -> str:
    """Format a value for a sentence: `keep`, but `replica_batch=4` and `fused=true`."""
    if isinstance(value, str) and value:
        return value
    return f"{by.rpartition('.')[2]}={_words(value)}"


def _sides(records: Sequence[Record], by: str) -> dict[Any, list[Record]]:
    """Group experiments by the value of a parameter, in the plan's order."""
    known = dict.fromkeys(name for record in records for name in record)
    where = f"--by {by}"
    check_known([by], known, where)
    sides: dict[Any, list[Record]] = {}
    for record in records:
        if by in record:
            sides.setdefault(hashable(record[by]), []).append(record)
    if len(sides) == 1:
        (side,) = sides.values()
        what = (
            f"all {len(side)} experiments have {_words(side[0][by])!r}"
            if len(side) > 1
            else "there is only one experiment"
        )
        raise LogError(f"{what}: nothing to compare", where=where, hint=f"vary it: dlbs run -V{by}=[...]")
    if len(sides) > MOST_VALUES:
        raise LogError(
            f"has {len(sides)} values, more than {MOST_VALUES}",
            where=where,
            hint="choose a varied parameter, or select experiments with --filter-query",
        )
    return sides


def _baseline(sides: Mapping[Any, list[Record]], by: str, baseline: Any) -> Any:
    if baseline is None:
        return next(iter(sides))
    if hashable(baseline) in sides:
        return hashable(baseline)
    words = {_words(side[0][by]): value for value, side in sides.items()}
    if _words(baseline) in words:
        return words[_words(baseline)]
    meant = truth(baseline)  # booleans have several spellings
    if meant is not None and hashable(meant) in sides:
        return hashable(meant)
    raise LogError(
        f"no experiment has {by} = {_words(baseline)}",
        where=f"--baseline {_words(baseline)}",
        hint=suggestion(_words(baseline), words, "its values are"),
    )


def _nothing_in_common(by: str, names: Sequence[str], found: Sequence[Mapping[tuple[Any, ...], Runs]]) -> LogError:
    """Error for experiments that all differ in further parameters; it names the parameter if there is only one."""
    others = []
    for at, name in enumerate(names):
        values = [{key[at] for key in side} for side in found]
        if all(values[0].isdisjoint(other) for other in values[1:]):
            others.append(name)
    shown = ", ".join(others or names)
    return LogError(
        f"no experiments with different values of it are equal otherwise: they also differ in {shown}",
        where=f"--by {by}",
        hint=f"--ignore {','.join(others or names)} compares them anyway; --baseline selects another baseline",
    )
