"""Run until it is known: rounds of those experiments whose comparison is still open, until every pair is decided or the budget is spent."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from random import Random

from dlbs.config.config import Config
from dlbs.errors import ConfigError, DlbsError
from dlbs.executors.base import Executor, Outcome
from dlbs.exit_codes import OK, REGRESSION, UNDECIDED
from dlbs.experiment import Experiment, log_path
from dlbs.launch.script import Launcher
from dlbs.logs import last_values
from dlbs.plan.pipeline import Repeats, unlabelled_names
from dlbs.results.read.logfiles import read_file
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number as number_of
from dlbs.results.statistics.pairs import Pair, Pairs, Question
from dlbs.results.statistics.within import ComparisonBy
from dlbs.results.tables.rounds import outlook, pair_line
from dlbs.run.driver import is_finished
from dlbs.run.events import Observer
from dlbs.run.policies import Policies
from dlbs.run.rounds import Rounds
from dlbs.run.status import Manifest
from dlbs.run.summary import Summary
from dlbs.run.whole import look_through, run_whole
from dlbs.text import counted, duration

__all__ = ["MOST_REPEATS", "Inquiry", "Known"]

MOST_REPEATS = 100  # where neither a budget nor a number of repeats is given


@dataclass(frozen=True, slots=True)
class Known:
    """What a run until it is known came to.

    Attributes:
        comparison: The values of the parameter beside the baseline, as `dlbs.compare(..., by=...)` gives it. Pairs that are open are `inconclusive`.
        rounds: Complete rounds, those of earlier runs included.
        open: Pairs that more rounds may decide, a line each.
        given_up: Lines of pairs of which an experiment failed again and again.
        stopped: Why there were no more rounds although pairs were open; empty if none was, or a signal or a policy stopped the run.
        summary: What became of the experiments.
    """

    comparison: ComparisonBy
    rounds: int
    open: tuple[str, ...]
    given_up: tuple[str, ...]
    stopped: str
    summary: Summary

    @property
    def is_decided(self) -> bool:
        """Whether every pair has a verdict on its ratio."""
        return not self.open and not self.given_up

    @property
    def exit_code(self) -> int:
        """With which `dlbs run` ends, without `--fail-on-regression`."""
        return self.summary.exit_code or (OK if self.is_decided else UNDECIDED)

    def gate_code(self) -> int:
        """With which `dlbs run --fail-on-regression` ends."""
        return self.summary.exit_code or (REGRESSION if self.comparison.regressions else self.exit_code)


class Inquiry:
    """A question, and the rounds of experiments that answer it.

    Each round runs one repeat of each experiment that an open pair needs, in an order drawn at random: what changes on a machine with time then changes both
    sides of a pair alike. Repeats are those that `exp.repeats` would make, so logs of an earlier run are rounds that need not run again.

    Args:
        config: Makes the plan, or only declares the parameters of a written one.
        question: What is to be known.
        plan: A written plan.
        budget: Seconds after which no experiment is started; those that would probably take longer are not started either. None for any time.
        max_repeats: Most repeats of an experiment; None for 100 without a budget, and any number with one.
        seed: Of the order within rounds.
        tell: Is given a line for each pair after each round.

    Raises:
        ConfigError: Repeats of an experiment cannot be told apart.
        LogError: There is nothing to compare.
    """

    def __init__(
        self,
        config: Config,
        question: Question,
        *,
        plan: str | None = None,
        budget: float | None = None,
        max_repeats: int | None = None,
        seed: int = 1,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.repeats = Repeats(config, plan)
        if not len(self.repeats):
            raise ConfigError(
                "the plan has no experiments that run", hint="dlbs build shows what the configuration makes"
            )
        first = [self.repeats.experiment(number, 1) for number in range(len(self.repeats))]
        self.pairs = Pairs(first, config.declarations, question)
        self.unlabelled = unlabelled_names(config, plan)
        self.budget = budget
        self.max_repeats = MOST_REPEATS if max_repeats is None and budget is None else max_repeats
        self.seed, self.tell = seed, tell
        self.rounds = 0  # that are complete
        self.stopped = ""
        self.manifest = Manifest()
        self._round = _Round(0)
        self._given = 0
        self._seconds: dict[int, list[float]] = {}
        self._began = time.monotonic()
        self._busy = 0.0

    def look_through(self, executor: Executor, *, validate: bool) -> Manifest:
        """Look for problems before anything runs, and give the logs that are known to be left; it grows with the rounds.

        Raises:
            ConfigError: There are problems; all of them are named.
        """
        rounds = [[self.repeats.experiment(number, repeat) for number in self.pairs.wanted()] for repeat in (1, 2)]
        # Two of each, so that problems of repeats show, and labels have the number of the repeat.
        both = look_through(chain(*rounds), executor, validate=validate, unlabelled=self.unlabelled)
        self.manifest = look_through(rounds[0], executor, validate=False, unlabelled=self.unlabelled)
        if both.directories != self.manifest.directories:
            raise ConfigError(
                "repeats of an experiment leave their logs in different directories",
                where="exp.log_dir",
                hint="leave exp.repeat out of it",
            )
        self.manifest.differences = both.differences
        return self.manifest

    def run(
        self, observer: Observer, executor: Executor, *, policies: Policies | None = None, wait: bool = False
    ) -> Known:
        """Run rounds until every pair is decided, or something stops them. `look_through` comes first.

        Raises:
            LaunchError: Another run writes to the same directories, or the executor cannot run anything.
        """
        rounds = Rounds(self, observer)
        summary = run_whole(rounds, self.manifest, rounds, executor, show=_ignore, policies=policies, wait=wait)
        self._take_round()
        stopped = "" if summary.stop_signal or summary.stopped else self.stopped
        return Known(
            self.pairs.comparison({at: self._note(pair) for at, pair in enumerate(self.pairs.pairs) if pair.is_open}),
            self.rounds,
            tuple(pair_line(self.pairs, pair, self._pair_seconds(pair)) for pair in self.pairs.open),
            tuple(pair_line(self.pairs, pair) for pair in self.pairs.pairs if pair.given_up),
            stopped if self.pairs.open else "",
            summary,
        )

    # What the driver asks, through `Rounds`.

    def expected_total(self) -> int:
        """How many experiments there will be at least: no verdict comes before the first look."""
        wanted = len(self.pairs.wanted())
        return self._given + wanted * max(0, self.pairs.first_round - self._round.repeat)

    def next_round(self) -> list[Experiment]:
        """The experiments of the next round; none if all is known, or the limits are reached."""
        self._take_round()
        wanted, repeat = self.pairs.wanted(), self._round.repeat + 1
        if repeat == 1:
            self._began = time.monotonic()  # waiting for another run costs nothing
        if not wanted or self.stopped:
            return []
        if self.max_repeats is not None and repeat > self.max_repeats:
            self.stopped = f"each experiment ran {counted(self.max_repeats, 'time')} (--max-repeats)"
            return []
        experiments = {number: self.repeats.experiment(number, repeat) for number in wanted}
        missing = [number for number, experiment in experiments.items() if not _is_finished(experiment)]
        if missing and not self._fits(sum(self._expected(number) for number in missing)):
            return []
        if repeat > 1:
            for experiment in experiments.values():
                self.manifest.add(experiment)
            if missing:
                self.manifest.write()
        self._round = _Round(repeat, {str(one["exp.log_file"]): number for number, one in experiments.items()})
        self._given += len(experiments)
        order = list(experiments.values())
        Random(f"{self.seed} {repeat}").shuffle(order)
        return order

    def may_start(self, experiment: Experiment) -> bool:
        """Whether it fits into the budget, as far as earlier repeats tell."""
        return _is_finished(experiment) or self._fits(
            self._expected(self._round.numbers[str(experiment["exp.log_file"])])
        )

    def has_ended(self, experiment: Experiment, outcome: Outcome | None) -> None:
        """Read its log."""
        number = self._round.numbers[str(experiment["exp.log_file"])]
        records, _ = read_file(str(log_path(experiment, Path.cwd())))
        record: Record = records[-1] if records else {**experiment, "exp.status": "failure"}
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
        """Look at the pairs, if all experiments of the round came to their end."""
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

    def _expected(self, number: int) -> float:
        """Seconds of one more run of an experiment; 0 if it never ran."""
        return statistics.median(self._seconds.get(number, [0.0]))

    def _fits(self, seconds: float) -> bool:
        """Whether so much work fits into the budget; if not, that is why the rounds end."""
        if self.budget is None:
            return True
        elapsed = time.monotonic() - self._began
        side_by_side = max(1.0, self._busy / elapsed) if elapsed else 1.0
        if elapsed < self.budget and elapsed + seconds / side_by_side <= self.budget:
            return True
        self.stopped = f"the budget of {duration(self.budget)} is spent"
        if elapsed < self.budget:
            self.stopped = f"{duration(self.budget - elapsed)} of the budget are left, and the next would take about {duration(seconds / side_by_side)}"
        return False

    def _pair_seconds(self, pair: Pair) -> float:
        return sum(self._expected(number) for side in pair.sides for number in side)

    def _note(self, pair: Pair) -> str:
        return f"open after {counted(pair.rounds, 'round')}: {outlook(self.pairs, pair, self._pair_seconds(pair))}"


@dataclass(slots=True)
class _Round:
    """A round under way.

    Attributes:
        repeat: Its number, from 1.
        numbers: Log file → number of the experiment.
        records: Number of the experiment → what its log says.
        has_run: Whether something was measured, so that there is news.
    """

    repeat: int
    numbers: dict[str, int] = field(default_factory=dict)
    records: dict[int, Record] = field(default_factory=dict)
    has_run: bool = False

    @property
    def is_complete(self) -> bool:
        ended: Set[int] = {number for number, record in self.records.items() if record.get("exp.status") != "cancelled"}
        return ended == set(self.numbers.values())


def _ignore(launcher: Launcher) -> None:
    """Experiments that are only simulated are left out of the plan."""


def _is_finished(experiment: Experiment) -> bool:
    """Whether it need not run, so that it takes no time."""
    try:
        return is_finished(experiment, last_values(log_path(experiment, Path.cwd())))
    except DlbsError:  # the driver says what is wrong with it, and does not run it
        return True
