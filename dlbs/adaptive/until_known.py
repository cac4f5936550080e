"""Run until known: rounds of the experiments in undecided pairs, until every pair is decided or the budget is spent.

`run_until_known` is the function for Python callers; `dlbs run --until-known` uses `UntilKnown` itself.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any

from benchmark_core.exits import OK, REGRESSION, UNDECIDED
from dlbs.adaptive.pairs import Pair, Pairs, outlook, pair_line
from dlbs.config.config import Config
from dlbs.core.errors import ConfigError, DlbsError, LaunchError, one_or_several, with_arguments
from dlbs.core.experiment import Experiment, log_path
from dlbs.core.logs import last_values
from dlbs.core.text import counted, duration
from dlbs.executors.base import Executor, Outcome, make_executor
from dlbs.executors.local import Slots
from dlbs.machine.resources import Request
from dlbs.plan.pipeline import Repeats, unlabelled_names
from dlbs.results.read.logs import read_file
from dlbs.results.runs import Record
from dlbs.results.runs import number as number_of
from dlbs.results.statistics.compare import ComparisonBy
from dlbs.results.statistics.ratio import DEFAULT_RULES, Rules
from dlbs.run.driver import Callback, Changes, Event, Observer, Summary, look_through, run_plan
from dlbs.run.manifest import Manifest
from dlbs.run.policies import BatchLimits, Policies, is_finished

if TYPE_CHECKING:
    import pandas as pd

MOST_SIDES = 8  # that take turns
MOST_REPEATS = 100  # if neither a budget nor a number of repeats is given


@dataclass(frozen=True, slots=True, repr=False)
class Known:
    """The outcome of a run until known.

    Attributes:
        comparison: The values of the parameter compared with the baseline, as from `dlbs.compare(..., by=...)`. Undecided pairs are `inconclusive`.
        rounds: Complete rounds, including those of earlier runs.
        open: Pairs that more rounds may decide, one line each.
        given_up: Pairs with an experiment that failed repeatedly, one line each.
        stopped: Why the rounds ended with undecided pairs; empty if there are none, or if a signal or a policy stopped the run.
        summary: The outcome of the experiments.
        is_fixed: Whether the number of rounds was given.
    """

    comparison: ComparisonBy
    rounds: int
    open: tuple[str, ...]
    given_up: tuple[str, ...]
    stopped: str
    summary: Summary
    is_fixed: bool = False

    def __repr__(self) -> str:
        open_ = f", {counted(len(self.open), 'open pair')}" if self.open else ""
        return f"<Known after {counted(self.rounds, 'round')}{open_}: {self.comparison!r}>"

    def _repr_html_(self) -> str:
        return self.comparison._repr_html_()

    def to_frame(self) -> pd.DataFrame:
        """The comparison as a pandas frame."""
        return self.comparison.to_frame()

    @property
    def is_decided(self) -> bool:
        """Whether every pair has a verdict on its ratio."""
        return not self.open and not self.given_up

    @property
    def exit_code(self) -> int:
        """Exit code of `dlbs run` without `--fail-on-regression`."""
        return self.summary.exit_code or (OK if self.is_decided else UNDECIDED)

    def gate_code(self) -> int:
        """Exit code of `dlbs run --fail-on-regression`."""
        return self.summary.exit_code or (REGRESSION if self.comparison.regressions else self.exit_code)


class UntilKnown(Observer):
    """A comparison to decide, and the rounds of experiments that decide it: the plan that the driver draws from, and an observer of its run.

    Each round runs one repeat of each experiment of an undecided pair, in random order, so that changes of the machine over time affect both
    sides of a pair alike. Repeats are those of `exp.repeats`, so logs of an earlier run count as rounds.

    Args:
        config: Makes the plan, or only declares the parameters of a given one.
        rules: The comparison to decide.
        plan: A plan from a file.
        budget: Seconds after which no experiment is started, nor one that would probably exceed them. None for no limit.
        max_repeats: Maximum repeats of an experiment; None for 100 without a budget, unlimited with one.
        rounds: Run this number of rounds instead, whatever they show.
        seed: Seed of the order within rounds.
        tell: Called with a line for each pair after each round.

    Raises:
        ConfigError: Repeats of an experiment cannot be distinguished.
        LogError: There is nothing to compare.
    """

    def __init__(
        self,
        config: Config,
        rules: Rules,
        *,
        plan: str | None = None,
        budget: float | None = None,
        max_repeats: int | None = None,
        rounds: int | None = None,
        seed: int = 1,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.repeats = Repeats(config, plan)
        if not len(self.repeats):
            raise ConfigError("the plan has no experiments to run", hint="dlbs build prints the plan")
        first = [self.repeats.experiment(number, 1) for number in range(len(self.repeats))]
        self.pairs = Pairs(first, config.declarations, rules, rounds)
        self.unlabelled = unlabelled_names(config, plan)
        self.budget = budget
        self.max_repeats = MOST_REPEATS if max_repeats is None and budget is None and rounds is None else max_repeats
        self.seed, self.tell = seed, tell
        self.rounds = 0  # complete rounds
        self.stopped = ""
        self.manifest = Manifest()
        self._limits = BatchLimits()
        self._changes = Changes(Path.cwd())
        self._observer = Observer()
        self._summary = Summary()
        self._round = _Round(0)
        self._queue: deque[tuple[Experiment, ...]] = deque()
        self.no_turns = ""  # the reason why experiments of a group do not take turns
        self._under_way: set[str] = set()  # log files of drawn experiments that have not ended
        self._given = 0
        self._seconds: dict[int, list[float]] = {}
        self._began = time.monotonic()
        self._busy = 0.0

    def look_through(self, executor: Executor, *, validate: bool) -> Manifest:
        """Validate before anything runs, and return the manifest of logs, which grows with the rounds.

        Raises:
            ConfigError: There are problems; the message lists all of them.
        """
        self.no_turns = self._why_no_turns(executor)
        self.pairs.take_turns = not self.no_turns
        rounds = [[self.repeats.experiment(number, repeat) for number in self.pairs.wanted()] for repeat in (1, 2)]
        # Two of each: validation then finds problems of repeats, and labels contain the repeat.
        both = look_through(chain(*rounds), executor, validate=validate, unlabelled=self.unlabelled)
        self.manifest = look_through(rounds[0], executor, validate=False, unlabelled=self.unlabelled)
        if both.directories != self.manifest.directories:
            raise ConfigError(
                "repeats of an experiment write logs to different directories",
                where="exp.log_dir",
                hint="remove exp.repeat from it",
            )
        self.manifest.differences = both.differences
        return self.manifest

    def _why_no_turns(self, executor: Executor) -> str:
        """Why the experiments of a group cannot take turns; empty if they can."""
        plan = {number: self.repeats.experiment(number, 1) for number in self.pairs.wanted()}
        if not any(one.get("turns.seconds") for one in plan.values()):
            return "turns.seconds is 0"
        if not executor.gives_turns:
            return "only experiments of --executor local do, because all sides must run on one machine"
        for one in plan.values():
            framework = one.get("exp.framework")
            if not one.get(f"{framework}.takes_turns"):
                return f"programs of {framework} do not, unless {framework}.takes_turns says so"
            if (one.get("exp.num_nodes") or 1) != 1 or (one.get("exp.num_replicas") or 1) != 1:
                return "a side has several replicas"
        if any(len(side) > 1 for pair in self.pairs.pairs for side in pair.sides):
            return "a side has several experiments (--ignore)"
        for group in self.pairs.wanted_together():
            if len(group) > MOST_SIDES:
                return f"{len(group)} sides are more than {MOST_SIDES}"
            try:
                Slots().check(Request.together([Request.of(plan[number]) for number in group]))
            except LaunchError as error:
                return f"all sides together do not fit: {error}"
        return ""

    def run(
        self, observer: Observer, executor: Executor, *, policies: Policies | None = None, wait: bool = False
    ) -> Known:
        """Run rounds until every pair is decided or a limit is reached; call `look_through` first.

        Raises:
            LaunchError: Another run writes to the same directories, or the executor cannot run anything.
        """
        self._observer = observer
        self._limits = BatchLimits(self.manifest.differences.names)
        summary = run_plan(self, self.manifest, self, executor, policies=policies, wait=wait, limits=self._limits)
        self._take_round()
        stopped = "" if summary.stop_signal or summary.stopped else self.stopped
        return Known(
            self.pairs.comparison({at: self._note(pair) for at, pair in enumerate(self.pairs.pairs) if pair.is_open}),
            self.rounds,
            tuple(pair_line(self.pairs, pair, self._pair_seconds(pair)) for pair in self.pairs.open),
            tuple(pair_line(self.pairs, pair) for pair in self.pairs.pairs if pair.given_up),
            stopped if self.pairs.open else "",
            summary,
            self.pairs.fixed is not None,
        )

    def __iter__(self) -> UntilKnown:
        return self

    def __next__(self) -> Experiment | tuple[Experiment, ...] | None:
        """The next experiment, or those that take turns; None while experiments of the round are running."""
        if not self._queue:
            if self._under_way:
                return None
            self._queue.extend(self._next_round())
            self._summary.total = self._expected_total()
        if not self._queue or not self._may_start(self._queue[0]):
            raise StopIteration
        drawn = self._queue.popleft()
        self._under_way.update(str(one["exp.log_file"]) for one in drawn)
        return drawn if len(drawn) > 1 else drawn[0]

    def __enter__(self) -> UntilKnown:
        self._observer.__enter__()
        self.tick_seconds = self._observer.tick_seconds
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.__exit__(kind, value, trace)

    def begin(self, summary: Summary) -> None:
        self._summary = summary
        summary.total = self._expected_total()
        self._observer.begin(summary)

    def notify(self, event: Event) -> None:
        self._observer.notify(event)
        if event.kind in {"skipped", "ended"}:
            self._under_way.remove(str(event.experiment["exp.log_file"]))
            self._has_ended(event.experiment, event.outcome)

    def tick(self) -> None:
        self._observer.tick()

    def _expected_total(self) -> int:
        """The least number of experiments: no verdict comes before the first analysis."""
        wanted = len(self.pairs.wanted())
        return self._given + wanted * max(0, self.pairs.first_round - self._round.repeat)

    def _next_round(self) -> list[tuple[Experiment, ...]]:
        """The experiments of the next round, those that take turns together; none if all pairs are decided or a limit is reached."""
        self._take_round()
        wanted, repeat = self.pairs.wanted(), self._round.repeat + 1
        if repeat == 1:
            self._began = time.monotonic()  # waiting for another run does not count
        if not wanted or self.stopped:
            return []
        if self.max_repeats is not None and repeat > self.max_repeats:
            self.stopped = f"each experiment ran {counted(self.max_repeats, 'time')} (--max-repeats)"
            return []
        experiments = {number: self.repeats.experiment(number, repeat) for number in wanted}
        missing = self._missing(experiments)
        if missing and not self._fits(sum(self._expected(number) for number in missing)):
            return []
        if repeat > 1:
            for experiment in experiments.values():
                self.manifest.add(experiment)
            if missing:
                self.manifest.write()
        self._round = _Round(repeat, {str(one["exp.log_file"]): number for number, one in experiments.items()})
        self._given += len(experiments)
        groups = self.pairs.wanted_together() if self.pairs.take_turns else [(number,) for number in experiments]
        order = [tuple(experiments[number] for number in group) for group in groups]
        Random(f"{self.seed} {repeat}").shuffle(order)
        return order

    def _may_start(self, experiments: tuple[Experiment, ...]) -> bool:
        """Whether experiments fit into the budget, judging by their earlier repeats."""
        numbers = {self._round.numbers[str(one["exp.log_file"])]: one for one in experiments}
        return not self._missing(numbers) or self._fits(sum(map(self._expected, numbers)))

    def _has_ended(self, experiment: Experiment, outcome: Outcome | None) -> None:
        """Read its log."""
        number = self._round.numbers[str(experiment["exp.log_file"])]
        records, _ = read_file(str(log_path(experiment, Path.cwd())))
        record: dict[str, Any] = dict(records[-1]) if records else {**experiment, "exp.status": "failure"}
        if outcome is not None:
            self._round.has_run = True
            self._busy += outcome.seconds
            if not records or outcome.status != "ok":
                record |= {"exp.status": outcome.status, "exp.status_msg": outcome.message}
        seconds = number_of(record, "exp.seconds")
        if seconds:
            self._seconds.setdefault(number, []).append(seconds)
        self._round.records[number] = record

    def _take_round(self) -> None:
        """Analyse the pairs, if all experiments of the round ended."""
        done = self._round
        if done.repeat == self.rounds or not done.is_complete:
            return
        self.rounds = done.repeat
        looked_at = self.pairs.open
        self.pairs.add(done.records)
        if self.tell is None or not done.has_run:
            return
        for pair in looked_at:
            if done.repeat >= self.pairs.first_round or not pair.is_open:
                self.tell(f"round {done.repeat}: {pair_line(self.pairs, pair)}")

    def _missing(self, experiments: Mapping[int, Experiment]) -> list[int]:
        """Numbers of the experiments that have to run and take time."""
        endings = {number: ending for number, one in experiments.items() if (ending := _ending(one)) is not None}
        changed = {number for number, one in experiments.items() if one.get("exp.rerun") == "changed"}
        changes = {
            number: self._changes.since(experiments[number], endings[number]) for number in changed & set(endings)
        }

        def is_done(number: int) -> bool:
            return is_finished(experiments[number], endings[number], self._limits, changes.get(number, ""))

        for number in filter(is_done, endings):  # one of them may be the reason that another one was skipped
            self._limits.learn_from_log(experiments[number], endings[number])
        return [number for number in endings if not is_done(number)]

    def _expected(self, number: int) -> float:
        """Expected seconds of one more run of an experiment; 0 if it never ran."""
        return statistics.median(self._seconds.get(number, [0.0]))

    def _fits(self, seconds: float) -> bool:
        """Whether this much work fits into the budget; if not, record why the rounds end."""
        if self.budget is None:
            return True
        elapsed = time.monotonic() - self._began
        side_by_side = max(1.0, self._busy / elapsed) if elapsed else 1.0
        if elapsed < self.budget and elapsed + seconds / side_by_side <= self.budget:
            return True
        self.stopped = f"the budget of {duration(self.budget)} is spent"
        if elapsed < self.budget:
            self.stopped = f"{duration(self.budget - elapsed)} of the budget is left; the next round would take about {duration(seconds / side_by_side)}"
        return False

    def _pair_seconds(self, pair: Pair) -> float:
        return sum(self._expected(number) for side in pair.sides for number in side)

    def _note(self, pair: Pair) -> str:
        return f"open after {counted(pair.rounds, 'round')}: {outlook(self.pairs, pair, self._pair_seconds(pair))}"


@dataclass(slots=True)
class _Round:
    """A round in progress.

    Attributes:
        repeat: Its number, from 1.
        numbers: Log file → number of the experiment.
        records: Number of the experiment → the record of its log.
        has_run: Whether anything was measured, so that the pairs need analysis.
    """

    repeat: int
    numbers: dict[str, int] = field(default_factory=dict)
    records: dict[int, Record] = field(default_factory=dict)
    has_run: bool = False

    @property
    def is_complete(self) -> bool:
        ended: Set[int] = {number for number, record in self.records.items() if record.get("exp.status") != "cancelled"}
        return ended == set(self.numbers.values())


def _ending(experiment: Experiment) -> dict[str, object] | None:
    """The end of an experiment's log; None if it cannot be read: the driver reports that and does not run the experiment."""
    try:
        return last_values(log_path(experiment, Path.cwd()))
    except DlbsError:
        return None


@with_arguments
def run_until_known(
    config: Config,
    *,
    by: str,
    baseline: Any = None,
    metric: str | None = None,
    threshold: float = DEFAULT_RULES.threshold,
    confidence: float = DEFAULT_RULES.confidence,
    ignore: str | Sequence[str] = (),
    trust_doubtful: bool = False,
    budget: float | None = None,
    max_repeats: int | None = None,
    executor: str = "local",
    jobs: int | None = None,
    order_seed: int = 1,
    retries: int = 0,
    max_failures: int = 0,
    time_limit: float | None = None,
    validation: bool = True,
    wait: bool = False,
    on_event: Callable[[Event], None] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Known:
    """Repeat experiments until each value of a parameter has a verdict of faster, slower or same relative to the baseline.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""},
    ...     variables={"exp.replica_batch": [16, 32]},
    ... )
    >>> known = dlbs.run_until_known(config, by="exp.replica_batch", budget=600, on_line=print)
    round 5: replica_batch=32 vs replica_batch=16: 2.000 ± 0.000 times as fast, faster, decided after 5 rounds
    >>> known.rounds, known.is_decided, known.comparison.counts
    (5, True, {'32': {'faster': 1}})

    Each round runs one repeat of each experiment of an undecided pair. The confidence level applies to all verdicts together, for any number of rounds
    and pairs. Make the same call again to continue: repeats that have a log are not run again.

    Args:
        config: Makes the plan, with one repeat of each experiment.
        by: The parameter whose values are compared.
        baseline: The value to compare the others with; None for the first one in the plan.
        metric: Key of the quantity; None for the throughput, or the time if no experiment has a throughput.
        threshold: Ignore differences up to this share; with 0 no verdict is `same`.
        confidence: Confidence level of all verdicts together.
        ignore: Parameters that do not distinguish experiments.
        trust_doubtful: Also use runs with warnings.
        budget: Seconds after which no experiment is started; None for no limit.
        max_repeats: Maximum repeats of an experiment; None for 100 without a budget, unlimited with one.
        executor: A name of `dlbs run --executor`, or `module:Class`.
        jobs: Experiments to run in parallel; None for the executor's default.
        order_seed: Seed of the order within rounds.
        retries: Number of retries of a failed experiment.
        max_failures: Start no more experiments after this many failures; 0 for no limit.
        time_limit: Seconds after which running experiments are stopped; None for no limit.
        validation: Validate before anything runs.
        wait: If another run writes to the same log directories, wait for its end instead of raising an error.
        on_event: Called when an experiment starts, is retried, or ends.
        on_line: Called with a line of text for each pair after each round.

    Returns:
        The comparison, and the undecided pairs.

    Raises:
        ConfigError: The plan has problems, or repeats cannot be distinguished; nothing was run.
        LogError: There is nothing to compare, a parameter is unknown, or a share is out of range.
        LaunchError: Another run writes to the same logs, the executor cannot run anything, or the caller is not in the main thread.
    """
    for name, count in (("jobs", jobs), ("max_repeats", max_repeats), ("budget", budget)):
        if count is not None and count <= 0:
            raise ConfigError(f"{count} is too small", where=name, hint="must be positive, or None")
    rules = Rules(
        by=by,
        baseline=baseline,
        metric=metric,
        threshold=threshold,
        confidence=confidence,
        ignore=tuple(one_or_several(ignore)),
        trust_doubtful=trust_doubtful,
    )
    rounds = UntilKnown(config, rules, budget=budget, max_repeats=max_repeats, seed=order_seed, tell=on_line)
    chosen = make_executor(executor, jobs)
    rounds.look_through(chosen, validate=validation)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    policies = Policies(retries, max_failures, deadline)
    return rounds.run(Callback(on_event), chosen, policies=policies, wait=wait)
