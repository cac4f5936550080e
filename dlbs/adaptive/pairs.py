"""Compare values of one parameter with a baseline in rounds of runs, each pair until it has a verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmark_core.doubts import doubts_of
from benchmark_core.turns import PAIR
from dlbs.config.declarations import Parameter
from dlbs.core.experiment import Experiment
from dlbs.core.text import counted, duration, text
from dlbs.results.keys import better_of, check_known
from dlbs.results.runs import THROUGHPUT, Record, Runs, has_value, status_of, usual_metric
from dlbs.results.runs import number as number_of
from dlbs.results.statistics.compare import Comparison, ComparisonBy, Match, compare_by
from dlbs.results.statistics.ratio import (
    INCONCLUSIVE,
    REGRESSIONS,
    STATISTICS,
    Estimate,
    PairRatio,
    Rules,
    Sample,
    estimate_pairs,
    estimate_ratio,
    is_doubtful,
    is_speed,
    pairs_of,
    sample_of,
    verdict_of,
)
from dlbs.results.statistics.sequential import (
    FIRST_LOOK,
    Rounds,
    can_tell,
    first_look,
    needed_runs,
    repeated_interval,
    repeated_pairs_interval,
)
from dlbs.results.tables.comparison import speed_words

MOST_FAILURES = 3  # consecutive failures after which an experiment is not run again
_BROKEN = {(False, False): "failed", (False, True): "fixed", (True, False): "broken"}


@dataclass(slots=True)
class Pair:
    """One value of the parameter and the baseline, in one group of otherwise equal experiments.

    Attributes:
        label: Label of the group.
        comparison: Index of its comparison, that of the value.
        sides: Indices of the experiments of the baseline and of the value.
        names: Names of the two sides.
        rounds: Number of complete rounds after which it was evaluated.
        estimate: Ratio of the value to the baseline after the last of them; None if there is none yet.
        verdict: `INCONCLUSIVE` while it is open.
        used: Number of runs on each side that the estimate comes from.
        doubtful: Number of runs on each side that were left out because of warnings.
        given_up: Reason why no more rounds are run without a verdict on the ratio.
        is_closed: Whether no more rounds are run, whatever the verdict is.
        beaten_by: Name of a value that is better than this one, which is why no more rounds are run.
    """

    label: str
    comparison: int
    sides: tuple[tuple[int, ...], tuple[int, ...]]
    names: tuple[str, str]
    rounds: int = 0
    estimate: Estimate | None = None
    verdict: str = INCONCLUSIVE
    used: tuple[int, int] = (0, 0)
    doubtful: tuple[int, int] = (0, 0)
    doubts: tuple[str, ...] = ()
    given_up: str = ""
    is_closed: bool = False
    beaten_by: str = ""

    @property
    def is_open(self) -> bool:
        """Whether more rounds may decide the pair."""
        return self.verdict == INCONCLUSIVE and not self.given_up and not self.is_closed

    @property
    def is_decided(self) -> bool:
        """Whether there is a verdict on the ratio."""
        return self.verdict != INCONCLUSIVE and not self.given_up


@dataclass(slots=True)
class _Runs:
    """Runs of one experiment, a record for each round."""

    records: list[Record] = field(default_factory=list)
    failures: int = 0  # consecutive ones up to the last run


class Pairs:
    """Pairs of a plan with their results after each complete round of runs.

    A decided pair keeps its verdict and is not evaluated again.

    Attributes:
        metric: Key of the quantity that is compared.
        take_turns: Whether the experiments of each group take turns.

    Args:
        plan: The resolved experiments, one repeat of each.
        declarations: Declared parameters, with those that identify an experiment.
        rules: The comparison to decide; its confidence level is that of all verdicts together, for any number of rounds and pairs.
        rounds: Evaluate each pair once, after this number of rounds; its confidence level is then that of each verdict.

    Raises:
        LogError: The parameter is unknown or has only one value, the baseline is not one of its values, or no two experiments differ in it alone.
    """

    def __init__(
        self,
        plan: Sequence[Experiment],
        declarations: Mapping[str, Parameter],
        rules: Rules,
        rounds: int | None = None,
    ) -> None:
        self.rules, self.fixed = rules, rounds
        self.metric = rules.metric or THROUGHPUT
        self.take_turns = False
        check_known(rules.ignore, {name for experiment in plan for name in experiment}, "--ignore")
        planned = Runs.of(plan, declarations)
        numbers = {row: number for number, row in enumerate(planned.rows)}
        # The plan has the same parameters as its logs, so experiments are matched as in `compare --by` of the logs.
        self._frame = compare_by(planned, rules)
        self.pairs = [
            Pair(
                match.label,
                at,
                (tuple(numbers[row] for row in match.a.rows), tuple(numbers[row] for row in match.b.rows)),
                comparison.sides,
            )
            for at, comparison in enumerate(self._frame.comparisons)
            for match in comparison.matches
            if match.a and match.b
        ]
        self.error = (1 - rules.confidence) / len(self.pairs)  # Bonferroni
        self.several_groups = len({pair.label for pair in self.pairs}) > 1
        self._results = Runs.of(())  # of all rounds
        self._runs: dict[int, _Runs] = {
            number: _Runs() for pair in self.pairs for side in pair.sides for number in side
        }

    @property
    def open(self) -> list[Pair]:
        """Pairs that more rounds may decide."""
        return [pair for pair in self.pairs if pair.is_open]

    @property
    def first_round(self) -> int:
        """The first round that can give a verdict."""
        if self.take_turns or self.fixed:
            return self.fixed or FIRST_LOOK
        sizes = {(len(pair.sides[0]), len(pair.sides[1])) for pair in self.pairs}
        repeat = 1
        while not any(
            can_tell(repeat * first, repeat * second, self.error, repeat if first == second else None)
            for first, second in sizes
        ):
            repeat += 1
        return repeat

    @property
    def alone(self) -> list[str]:
        """Groups of experiments without a counterpart, which are not run."""
        kept = {pair.label for pair in self.pairs}
        return [label for label in self._frame.experiments if label not in kept]

    def wanted(self) -> list[int]:
        """Indices of the experiments of the next round: those of open pairs, in the plan's order."""
        return sorted({number for pair in self.open for side in pair.sides for number in side})

    def wanted_together(self) -> list[tuple[int, ...]]:
        """As `wanted`, by group: these experiments take turns with each other."""
        groups: dict[str, set[int]] = {}
        for pair in self.open:
            groups.setdefault(pair.label, set()).update(number for side in pair.sides for number in side)
        return [tuple(sorted(group)) for group in groups.values()]

    def add(self, records: Mapping[int, Record]) -> None:
        """Add a complete round, and evaluate open pairs.

        Args:
            records: Index of an experiment → the record of its run.
        """
        if self.rules.metric is None:
            self._results = Runs.together([self._results, Runs.of(records.values())])
            self.metric = usual_metric(self._results)
        for number, record in records.items():
            runs = self._runs[number]
            runs.records.append(record)
            runs.failures = 0 if self._has_value(record) else runs.failures + 1
        for pair in self.open:
            self._look(pair)
        if self.rules.baseline is None and self.fixed is None:
            for pair in self.open:
                self._close_if_beaten(pair)

    def rounds_left(self, pair: Pair) -> int | None:
        """Number of further rounds that will decide an open pair if the ratio does not change; None if unknown."""
        if pair.estimate is None or not all(pair.used):
            return None
        runs = 2 * pair.used[0] * pair.used[1] / sum(pair.used)
        if pair.estimate.interval is None:
            in_rounds = _has_equal_sides(pair)
            needed: int | None = FIRST_LOOK if self.take_turns else first_look(self.error, in_rounds=in_rounds)
        else:
            estimate, interval = pair.estimate, pair.estimate.interval
            needed = needed_runs(estimate.ratio, interval, self.rules.threshold, runs, self.error)
        # If doubtful runs are left out, a round adds less than one run of each.
        return None if needed is None else max(1, math.ceil((needed - runs) * pair.rounds / runs))

    def comparison(self, notes: Mapping[int, str] | None = None) -> ComparisonBy:
        """Convert all pairs to a comparison as of `compare --by`, each with the runs and the interval of its deciding round.

        Args:
            notes: Index of an open pair in `pairs` → a note on it.
        """
        frame, rules = self._frame, self.rules
        comparisons = [
            Comparison(self.metric, rules.threshold, rules.confidence, "rank", one.sides, [], one.differences)
            for one in frame.comparisons
        ]
        results = Runs.of(record for runs in self._runs.values() for record in runs.records)
        left = iter(results.rows)
        rows = {number: [next(left) for _ in runs.records] for number, runs in self._runs.items()}
        for at, pair in enumerate(self.pairs):
            # Runs of the baseline continue while another pair needs them, and are shown in one row for all pairs.
            a = results.take([row for number in pair.sides[0] for row in rows[number]])
            b = results.take([row for number in pair.sides[1] for row in rows[number][: pair.rounds]])
            comparisons[pair.comparison].matches.append(self._match(pair, a, b, (notes or {}).get(at, "")))
        kept = [at for at, one in enumerate(comparisons) if one.matches]
        labels = {pair.label for pair in self.pairs}
        return replace(
            frame,
            comparisons=[comparisons[at] for at in kept],
            values=[frame.values[at] for at in kept],
            experiments=[label for label in frame.experiments if label in labels],
        )

    def _records(self, numbers: Iterable[int], rounds: int | None = None) -> tuple[Record, ...]:
        return tuple(record for number in numbers for record in self._runs[number].records[:rounds])

    def _has_value(self, record: Record) -> bool:
        value = number_of(record, self.metric)
        return has_value(record, self.metric) and value is not None and value > 0

    def _may_have_value(self, record: Record) -> bool:
        """Whether a run has a value, or would have one if its partner had not failed."""
        return self._has_value(record) or bool(record.get("exp.lost_partner"))

    def _sample(self, side: Iterable[Record]) -> tuple[Sample | None, list[Record]]:
        """Valid runs of one side, and the doubtful ones that are left out."""
        metric = self.metric
        records = [record for record in side if self._has_value(record)]
        if self.rules.trust_doubtful:
            return sample_of(records, metric), []
        clean = [record for record in records if not is_doubtful(record)]
        return sample_of(clean, metric), [record for record in records if is_doubtful(record)]

    def _look(self, pair: Pair) -> None:
        pair.rounds += 1
        (one, doubtful), (other, doubtful_too) = (self._sample(self._records(side, pair.rounds)) for side in pair.sides)
        pair.used = one.runs if one else 0, other.runs if other else 0
        pair.doubtful = len(doubtful), len(doubtful_too)
        kinds = Counter(kind for record in (*doubtful, *doubtful_too) for kind in doubts_of(record))
        pair.doubts = tuple(kind for kind, _ in kinds.most_common())
        if one is not None and other is not None:
            # A throughput is the inverse of a time for each instance.
            above, below = (one, other) if self.metric == THROUGHPUT else (other, one)
            pair.estimate = self._estimate(pair, above, below)
            if pair.estimate is not None and (self.fixed is None or pair.rounds >= self.fixed):
                pair.verdict = verdict_of(self.metric, pair.estimate.interval, self.rules.threshold)
        pair.is_closed = self.fixed is not None and pair.rounds >= self.fixed
        if pair.verdict == INCONCLUSIVE:
            self._give_up(pair)

    def _close_if_beaten(self, pair: Pair) -> None:
        """Close a pair whose value is worse than the best one: without a baseline of choice, only the best value matters."""
        sign = better_of(self.metric)
        rivals = {
            sign * math.log(one.estimate.ratio): one
            for one in self.pairs
            if one.label == pair.label and one is not pair and one.estimate is not None
        }
        if not rivals or max(rivals) <= 0:
            return
        leader = rivals[max(rivals)]
        sides, names = (leader.sides[1], pair.sides[1]), (leader.names[1], pair.names[1])
        against = Pair(pair.label, pair.comparison, sides, names, min(leader.rounds, pair.rounds) - 1)
        self._look(against)
        if against.is_decided and against.verdict in REGRESSIONS:
            pair.is_closed, pair.beaten_by = True, leader.names[1]

    def _estimate(self, pair: Pair, above: Sample, below: Sample) -> Estimate | None:
        """The ratio with its interval, valid after every round, or for the last of a fixed number."""
        pairs, confidence = self._pairs(pair), self.rules.confidence
        if self.fixed is not None:
            return estimate_pairs(pairs, confidence) if pairs else estimate_ratio(above, below, "rank", confidence)
        if pairs:
            return Estimate(*repeated_pairs_interval(pairs, self.error, confidence), "pairs")
        rounds = self._rounds(pair) if _has_equal_sides(pair) else None
        return Estimate(*repeated_interval(above.values, below.values, self.error, confidence, rounds), "runs")

    def _pairs(self, pair: Pair) -> list[PairRatio]:
        """Ratios of the rounds in which both sides took turns with each other; none if they did not in all rounds with values."""
        above, below = pair.sides if self.metric == THROUGHPUT else pair.sides[::-1]
        sides = [[one for one in self._records(side, pair.rounds) if self._counts(one)] for side in (above, below)]
        pairs = pairs_of(sides[0], sides[1], self.metric)
        pair.used = (len(pairs), len(pairs)) if pairs else pair.used
        return pairs if all(one.get(PAIR) for side in sides for one in side) else []

    def _rounds(self, pair: Pair) -> Rounds:
        """Values of both sides in rounds in which all runs are valid: means if a side has several runs."""
        above, below = pair.sides if self.metric == THROUGHPUT else pair.sides[::-1]
        kept: list[tuple[float, float]] = []
        for at in range(pair.rounds):
            samples = [
                sample_of([record for record in self._of_round(side, at) if self._counts(record)], self.metric)
                for side in (above, below)
            ]
            values = [
                _mean(one) for one, side in zip(samples, (above, below), strict=True) if one and one.runs == len(side)
            ]
            if len(values) == 2:
                kept.append((values[0], values[1]))
        return Rounds([one for one, _ in kept], [other for _, other in kept])

    def _of_round(self, side: Iterable[int], at: int) -> list[Record]:
        return [self._runs[number].records[at] for number in side]

    def _counts(self, record: Record) -> bool:
        return self._has_value(record) and (self.rules.trust_doubtful or not is_doubtful(record))

    def _give_up(self, pair: Pair) -> None:
        """Close a pair with an experiment that fails repeatedly or is skipped, as the next run would be."""
        for name, side in zip(pair.names, pair.sides, strict=True):
            for number in side:
                runs = self._runs[number]
                last = runs.records[-1]
                skipped = status_of(last) == "skipped"
                if runs.failures < (1 if skipped else MOST_FAILURES) or last.get("exp.lost_partner"):
                    continue
                status = status_of(last)
                what = f"has no {self.metric}" if status == "ok" else status
                times = "" if skipped else f" {counted(runs.failures, 'time')} in a row"
                message = text(last.get("exp.status_msg"))
                pair.given_up = f"given up: {name} {what}{times}" + (f": {message}" if message else "")
                have = tuple(any(map(self._may_have_value, self._records(numbers))) for numbers in pair.sides)
                pair.verdict = _BROKEN.get((have[0], have[1]), INCONCLUSIVE)
                return

    def _match(self, pair: Pair, a: Runs, b: Runs, note: str) -> Match:
        samples = [self._sample(runs) for runs in (a, b)]
        values = [None if sample is None else self._value(sample) for sample, _ in samples]
        used = [0 if sample is None else sample.runs for sample, _ in samples]
        left_out = [len(doubtful) for _, doubtful in samples]
        beaten = f"not measured further, because it is worse than {pair.beaten_by}" if pair.beaten_by else ""
        notes = [pair.given_up, beaten, note]
        notes += [
            f"{name}: {out} of {counted(out + runs, 'run')} {'is' if out == 1 else 'are'} doubtful ({'; '.join(pair.doubts[:2])}) and left out"
            for name, out, runs in zip(pair.names, pair.doubtful, pair.used, strict=True)
            if out
        ]
        return Match(
            pair.label, a, b, (values[0], values[1]), pair.estimate, pair.verdict, (used[0], used[1]),
            (left_out[0], left_out[1]), tuple(filter(None, notes)),
        )  # fmt: skip

    def _value(self, sample: Sample) -> float:
        value = STATISTICS["rank"](sample)
        return 1 / value if self.metric == THROUGHPUT else value


def _has_equal_sides(pair: Pair) -> bool:
    """Whether a round has equal numbers of runs on both sides, so that they differ only in the side."""
    return len(pair.sides[0]) == len(pair.sides[1])


def _mean(sample: Sample) -> float:
    """Geometric mean of the runs of a round."""
    return math.exp(math.fsum(map(math.log, sample.values)) / sample.runs)


def pair_line(pairs: Pairs, pair: Pair, seconds: float | None = None) -> str:
    """Format one pair: `keep vs system: 1.03 ± 0.04 times as fast, open: about 6 more rounds`. The ratio is the one of the final sentence.

    Args:
        pairs: All pairs.
        pair: The pair.
        seconds: Time of a round of this pair, if it is to be shown.
    """
    base, value = pair.names
    ratio = "" if pair.estimate is None else speed_words(pairs.metric, pair.estimate)
    if not is_speed(pairs.metric) and ratio:
        ratio = f"{pairs.metric} {ratio}"
    words = [ratio] if ratio else []
    if pair.given_up:
        words += [pair.verdict, pair.given_up]
    elif pair.is_decided or pair.is_closed:
        if not ratio.endswith(pair.verdict):
            words.append(pair.verdict)
        words.append(f"{'decided ' if pair.is_decided else ''}after {counted(pair.rounds, 'round')}")
        words += [f"worse than {pair.beaten_by}"] if pair.beaten_by else []
    else:
        words.append(f"open: {outlook(pairs, pair, seconds)}")
        left_out = sum(pair.doubtful)
        if left_out:
            total = left_out + sum(pair.used)
            words.append(f"{left_out} of {counted(total, 'run')} doubtful")
    return (f"{pair.label}: " if pairs.several_groups else "") + f"{value} vs {base}: " + ", ".join(words)


def outlook(pairs: Pairs, pair: Pair, seconds: float | None = None) -> str:
    """Estimate of the rounds that would decide an open pair, or the reason why it stays open."""
    if not all(pair.used):
        doubtful = any(pair.doubtful)
        return "too few runs without warnings (--trust-doubtful uses the others)" if doubtful else "no values yet"
    if pairs.fixed is not None:
        return counted(pairs.fixed - pair.rounds, "more round")
    rounds = pairs.rounds_left(pair)
    if rounds is None:
        return "too close to the threshold"
    time = f" ({duration(rounds * seconds)})" if seconds else ""
    no_interval = pair.estimate is not None and pair.estimate.interval is None
    return f"{'at least' if no_interval else 'about'} {counted(rounds, 'more round')}{time}"
