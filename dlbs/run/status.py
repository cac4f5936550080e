"""The state of a plan, from the files in its log directory: states of experiments, what runs, why others failed, the time that is left.

`Watch.look` answers all of it, for `dlbs status` once and for the live view repeatedly, reading only files that have changed.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.doubts import doubt_kind, warnings_of
from benchmark_core.log import KEY_LINE, STATUSES
from benchmark_core.text import printable
from dlbs.core.errors import LogError, did_you_mean
from dlbs.core.experiment import describe
from dlbs.core.files import open_regular
from dlbs.core.logs import first_values, last_values, start_time
from dlbs.core.text import duration, finite, text
from dlbs.run.locks import run_facts
from dlbs.run.manifest import PLAN_NAME, PlanFile, read_plan_file

_FAILED = ("failure", "timeout", "cancelled", "interrupted")
_MOST_SHOWN = 64  # running experiments
_MOST_REASONS = 10
_LAST_BYTES = 4096  # at the end of a log that are searched for its last line
_RATE = r"(?<![\w.])(\d[\d,]*(?:\.\d+)?) ?([A-Za-z]{1,20}/(?:s|sec|min|h))\b"

_Stamp = tuple[int, int]  # size and modification time in ns of a file


class State(NamedTuple):
    """The state of an experiment.

    Attributes:
        log: Its log file, which may not exist yet.
        status: ok, failure, timeout, skipped or cancelled; running; queued (an executor will run it); interrupted (it was
            running when its run was killed); unknown (running or interrupted: only its executor knows); to do.
        message: The reason, in one line.
        warnings: Warnings about its numbers, if it is ok.
        seconds: Its duration; None if its log does not contain it.
        change: The change of its code or software since, if the watch looks for changes.
    """

    log: Path
    status: str
    message: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    change: str = ""

    @property
    def doubts(self) -> list[str]:
        """Kinds of the warnings, without duplicates."""
        return list(dict.fromkeys(map(doubt_kind, self.warnings)))


class UnderWay(NamedTuple):
    """A running experiment.

    Attributes:
        name: Its label.
        slot: Its position among running experiments, from 1; fixed.
        gpus, cpus: The resources it was granted; empty if its log does not contain them.
        seconds: Seconds since it began; None if its log does not contain the start.
        line: The last line that it printed.
        rate: The rate in that line, such as `812 images/s`.
    """

    name: str
    slot: int
    gpus: str
    cpus: str
    seconds: float | None
    line: str
    rate: str


class Reason(NamedTuple):
    """A reason of failures: status, message, number of experiments, and one of them."""

    status: str
    message: str
    experiments: int
    example: str


class Look(NamedTuple):
    """The state of a plan now.

    Attributes:
        states: All experiments whose logs are or will be in the directory, in the plan's order, after those that are not in the plan.
        run: The facts that the active run has recorded; None if there is none.
        since: Start of that run, in seconds since 1970.
        ended: Number of experiments that have ended since the run began.
        under_way: Running experiments, ordered by slot.
        more: Number of running experiments that are not listed.
        differing: The parameters that differ within the plan.
        errors: The directory, or its plan file, could not be read.
    """

    states: tuple[State, ...] = ()
    run: dict[str, Any] | None = None
    since: float | None = None
    ended: int = 0
    under_way: tuple[UnderWay, ...] = ()
    more: int = 0
    differing: tuple[str, ...] = ()
    errors: tuple[LogError, ...] = ()

    @property
    def owner(self) -> int | None:
        """Process ID of the active run; 0 if unknown, None if there is no run."""
        if self.run is None:
            return None
        pid = self.run.get("pid")
        return pid if isinstance(pid, int) else 0

    @property
    def counts(self) -> Counter[str]:
        """Status → number of experiments."""
        return Counter(state.status for state in self.states)

    @property
    def done(self) -> int:
        """Number of experiments that need no more work."""
        return sum(state.status in STATUSES for state in self.states)

    @property
    def doubtful(self) -> int:
        """Number of ok experiments with warnings about their numbers."""
        return sum(bool(state.warnings) for state in self.states)

    @property
    def remaining(self) -> Remaining | None:
        """The remaining time; None if no run is active, or nothing has ended."""
        return time_left([self])

    @property
    def reasons(self) -> list[Reason]:
        """Reasons of failures, the most frequent first."""
        found: dict[tuple[str, str], list[State]] = {}
        for state in self.states:
            if state.status in _FAILED:
                found.setdefault((state.status, state.message), []).append(state)
        ordered = sorted(found.items(), key=lambda item: -len(item[1]))[:_MOST_REASONS]
        return [Reason(status, message, len(group), group[0].log.name) for (status, message), group in ordered]

    @property
    def problems(self) -> list[str]:
        """Messages about files that could not be read."""
        unreadable = [
            f"{state.log}: {state.message}"
            for state in self.states
            if state.status == "interrupted" and "cannot be read" in state.message
        ]
        return list(dict.fromkeys([*(f"{error.where}: {error.what}" for error in self.errors), *unreadable]))

    def label(self, log: Path) -> str:
        """The label of an experiment with a complete or partial log: the parameters that differ within its plan; else empty.

        Also empty if the log cannot be read; the state contains the reason.
        """
        try:
            values = first_values(log) or first_values(f"{log}.part")
        except LogError:
            return ""
        return describe(values, self.differing) if values else ""


class Watch:
    """A log directory, whose files are read again only when they have changed.

    Args:
        directory: The log directory.
        change: Finds changes of code and software since an experiment ended, by the end of its log, and the log.
    """

    def __init__(self, directory: Path, change: Callable[[Mapping[str, Any], Path], str] | None = None) -> None:
        self.directory, self._change = directory, change
        self._states: dict[str, tuple[_Stamp, State]] = {}  # of complete logs
        self._plan: tuple[_Stamp, PlanFile] | None = None
        self._slots: dict[str, int] = {}
        self._heads: dict[str, dict[str, Any]] = {}

    def learn(self, log: Path, stamp: _Stamp, values: Mapping[str, Any]) -> None:
        """Take what somebody else has read from a complete log, so that it is not read again.

        Args:
            log: In the directory itself; others are none of the plan.
            stamp: Its size and time in ns.
            values: Of the whole log.
        """
        if log.parent == self.directory and log.name.endswith(".log"):
            self._states[log.name] = stamp, _ended_state(log, values)

    def look(self, owned: Set[Path] | None = frozenset()) -> Look:
        """The current state of the plan. Errors of the directory and its plan file are in `errors`; those of a log are in its state.

        Args:
            owned: Absolute paths of logs that an executor is writing or will write without a `dlbs run`; None if
                its executor could not be queried.
        """
        errors: list[LogError] = []
        stamps = self._stamps(errors)
        plan = self._plan_file(stamps, errors)
        run = run_facts(self.directory)
        waited_for = {path.name for path in owned or () if path.parent == self.directory.absolute()}
        idle = "unknown" if owned is None else "interrupted"
        parts = {name.removesuffix(".part") for name in stamps if name.endswith(".part")}
        found = {name for name in stamps if name.endswith(".log")} | parts
        states = {}
        for name in (*sorted(found.difference(plan.logs)), *plan.logs):
            if name in parts:
                active = run is not None or name in waited_for
                states[name] = State(self.directory / name, "running" if active else idle)
            elif name in waited_for:
                states[name] = State(self.directory / name, "queued")
            else:
                states[name] = self._complete(name, stamps.get(name))
        self._states = {name: known for name, known in self._states.items() if name in states}
        running = [state for state in states.values() if state.status == "running"]
        self._assign(running)
        shown = [state for state in running if self._slots[state.log.name] <= _MOST_SHOWN]
        under_way = [self._under_way(state, plan.differing) for state in shown]
        since = None if run is None else _seconds_of(run.get("since"))
        ended = [stamps[name][1] / 1e9 for name, state in states.items() if state.status in STATUSES and name in stamps]
        return Look(
            states=tuple(states.values()),
            run=run,
            since=since,
            ended=0 if since is None else sum(moment >= since for moment in ended),
            under_way=tuple(sorted(under_way, key=lambda one: one.slot)),
            more=len(running) - len(shown),
            differing=plan.differing,
            errors=tuple(errors),
        )

    def _stamps(self, errors: list[LogError]) -> dict[str, _Stamp]:
        """Size and modification time of each file in the directory."""
        stamps, where = {}, str(self.directory)
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:  # renamed or removed since
                        continue
                    stamps[entry.name] = status.st_size, status.st_mtime_ns
        except FileNotFoundError:
            errors.append(LogError("no such directory", where=where, hint=_directory_hint(self.directory)))
        except NotADirectoryError:
            errors.append(LogError("is not a directory", where=where, hint="pass the log directory of a plan"))
        except OSError as error:
            errors.append(LogError(f"cannot be read: {error.strerror}", where=where))
        return stamps

    def _plan_file(self, stamps: dict[str, _Stamp], errors: list[LogError]) -> PlanFile:
        stamp = stamps.get(PLAN_NAME)
        if stamp is None:
            return PlanFile()
        if self._plan is None or self._plan[0] != stamp:
            try:
                self._plan = stamp, read_plan_file(self.directory)
            except LogError as error:
                errors.append(error)
                return PlanFile()
        return self._plan[1]

    def _complete(self, name: str, stamp: _Stamp | None) -> State:
        """The state of an experiment that nobody runs."""
        log = self.directory / name
        if stamp is None:
            return State(log, "to do")
        known = self._states.get(name)
        if known is None or known[0] != stamp:
            try:
                ending = last_values(log)
                state = _ended_state(log, ending)
                if self._change is not None and state.status in STATUSES:
                    state = state._replace(change=self._change(ending, log))
            except LogError as error:  # one that is not a file must not hide the others
                state = State(log, "interrupted", error.what)
            known = self._states[name] = stamp, state
        return known[1]

    def _assign(self, running: Sequence[State]) -> None:
        """Assign a fixed slot to each running experiment."""
        names = [state.log.name for state in running]
        self._slots = {name: slot for name, slot in self._slots.items() if name in set(names)}
        self._heads = {name: head for name, head in self._heads.items() if name in self._slots}
        taken = set(self._slots.values())
        free = (slot for slot in range(1, len(names) + len(taken) + 1) if slot not in taken)
        for name in names:
            if name not in self._slots:
                self._slots[name] = next(free)

    def _under_way(self, state: State, differing: Sequence[str]) -> UnderWay:
        name, part = state.log.name, f"{state.log}.part"
        try:
            if not self._heads.get(name):
                self._heads[name] = first_values(part)
            began = start_time(part)
        except LogError:  # ended, or not a file; the next look shows which
            began = None
        head = self._heads.get(name, {})
        line = last_line(state.log)
        return UnderWay(
            describe(head, differing, whole=True) or name,
            self._slots[name],
            text(head.get("exp.gpu_ids") or head.get("exp.gpus")),
            text(head.get("exp.cpus")),
            None if began is None else max(0.0, time.time() - began),
            line,
            rate_in(line),
        )


def _ended_state(log: Path, ending: Mapping[str, Any]) -> State:
    """The state of an experiment whose log is complete.

    Args:
        log: Its log file.
        ending: At least the values at its end.
    """
    status = ending.get("exp.status")
    if status not in STATUSES:
        return State(log, "interrupted", "the log does not contain its outcome")
    warnings = tuple(warnings_of(ending)) if status == "ok" else ()
    seconds = ending.get("exp.seconds")
    return State(
        log,
        str(status),
        text(ending.get("exp.status_msg")),
        warnings,
        finite(seconds) if status != "skipped" else None,
    )


def _directory_hint(missing: Path) -> str:
    """The log directory that may be meant, or how logs are written."""
    try:
        beside = [path.name for path in missing.absolute().parent.iterdir() if path.is_dir()]
    except OSError:
        beside = []
    close = did_you_mean(missing.name, beside)
    return close or "`dlbs run` writes logs to logs/, or to exp.log_dir"


def _seconds_of(value: Any) -> float | None:
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z").timestamp() if isinstance(value, str) else None
    except ValueError:
        return None


def last_line(log: Path) -> str:
    """The last complete line that a running experiment printed, ignoring `__key__= value` lines."""
    try:
        with open_regular(f"{log}.part") as stream:
            start = max(0, os.fstat(stream.fileno()).st_size - _LAST_BYTES)
            stream.seek(start)
            lines = re.split(r"[\r\n]", stream.read(_LAST_BYTES).decode("utf-8", "replace"))
    except (OSError, LogError):
        return ""
    # Text before the first newline may be a partial line, and text after the last one is still being written.
    whole = (line.strip() for line in reversed(lines[start > 0 : -1]))
    return printable(next((line for line in whole if line and not KEY_LINE.match(line)), ""))


def rate_in(line: str) -> str:
    """The last rate in a line of output, such as `812 images/s`; empty if there is none."""
    found = re.findall(_RATE, line)
    return " ".join(found[-1]) if found else ""


_MOST_KINDS = 256  # of experiments whose durations are told apart


def kind_of_log(log: str | os.PathLike[str]) -> str:
    """The experiments with similar durations to which a log belongs, from its name without `exp.id`: `pytorch_alexnet_training_b16`."""
    return re.sub(r"_[0-9a-f]{16}\.log.*$", "", os.path.basename(log))


def kinds_of(logs: Iterable[str | os.PathLike[str]]) -> Counter[str]:
    """How many logs are of each kind; all of one kind, the empty one, if there are too many kinds."""
    found = Counter(map(kind_of_log, logs))
    return found if len(found) <= _MOST_KINDS else Counter({"": found.total()})


class Durations:
    """The durations of ended experiments by kind."""

    def __init__(self, ended: Iterable[tuple[str, float]] = ()) -> None:
        self.count, self.sum = 0, 0.0
        self.by_kind: dict[
            str, tuple[int, float, float, float]
        ] = {}  # count, sum, sum and sum of squares of logarithms
        for kind, seconds in ended:
            self.add(kind, seconds)

    def add(self, kind: str, seconds: float) -> None:
        """Count a duration."""
        self.count += 1
        self.sum += seconds
        kind = kind if kind in self.by_kind or len(self.by_kind) < _MOST_KINDS else ""
        count, whole, logs, squares = self.by_kind.get(kind, (0, 0.0, 0.0, 0.0))
        log = math.log(max(seconds, _SHORTEST))
        self.by_kind[kind] = count + 1, whole + seconds, logs + log, squares + log**2


class Remaining(NamedTuple):
    """The remaining time in seconds.

    Attributes:
        seconds: The estimate.
        low, high: Its 90 % interval; None if too few experiments have ended.
    """

    seconds: float
    low: float | None = None
    high: float | None = None

    def words(self) -> str:
        """`about 20 min 5 s left (18 min to 24 min)`."""
        words = f"about {duration(self.seconds)} left"
        if self.low is None or self.high is None:
            return words
        low, high = _rough(self.low), _rough(self.high)
        return words if low == high else f"{words} ({low} to {high})"


def _rough(seconds: float) -> str:
    """A duration in words; longer ones are rounded to minutes."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return duration(seconds)
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def remaining_document(left: Remaining | None) -> dict[str, Any]:
    """The remaining time in a JSON document; null if unknown."""
    interval = None if left is None or left.low is None or left.high is None else [left.low, left.high]
    return {
        "seconds_left": None if left is None else round(left.seconds, 1),
        "seconds_left_interval": interval and [round(one, 1) for one in interval],
    }


def time_left(looks: Sequence[Look]) -> Remaining | None:
    """The remaining time of plans, from the times in their logs; None if none is running, or none of their experiments has ended."""
    states = [state for look in looks for state in look.states]
    running = sum(state.status == "running" for state in states)
    left = [state.log for state in states if state.status in {"running", "queued", "to do"}]
    if not left or not (running or any(look.run is not None for look in looks)):
        return None
    durations = Durations((kind_of_log(one.log), one.seconds) for one in states if one.seconds is not None)
    taken = [one.seconds for look in looks for one in look.under_way if one.seconds is not None]
    return remaining_time(durations, kinds_of(left), taken, max(1, running))


def remaining_time(
    durations: Durations, left: Mapping[str, float], running: Sequence[float], slots: int
) -> Remaining | None:
    """The time until the last experiment ends, with its interval; None before the first has ended.

    The logarithm of a duration varies between repeats, between settings of a model, and between models: each variance is that of the ended
    experiments, pooled with a usual one. So the interval is wide while a model, or a batch size, has not run yet.
    `tests/run/test_progress.py` simulates how often it holds.

    Args:
        durations: Durations of the experiments that have ended.
        left: Kind → experiments that have not ended, those that are running included; an empty kind is like those that have ended.
        running: Elapsed seconds of each running experiment.
        slots: Experiments that run at the same time.
    """
    count = sum(left.values())
    if not durations.count or not count:
        return None if not durations.count else Remaining(0.0)
    known = durations.by_kind
    titles: dict[str, list[float]] = {}
    for kind, (of_kind, whole, _, _) in known.items():
        titles.setdefault(_title(kind), []).append(max(whole / of_kind, _SHORTEST))
    repeats = _pooled(((n, logs, squares) for n, _, logs, squares in known.values()), *_USUAL_SPREADS[0])
    settings = _pooled(map(_moments, titles.values()), *_USUAL_SPREADS[1])
    of_titles = {title: sum(means) / len(means) for title, means in titles.items()}
    models = _pooled([_moments(of_titles.values())], *_USUAL_SPREADS[2])
    total = variance = 0.0
    unseen: Counter[str] = Counter()  # models that have not run → their expected seconds
    for kind, number in left.items():
        title = _title(kind)
        if kind in known or not kind:
            ran, whole = known[kind][:2] if kind in known else (durations.count, durations.sum)
            mean, shared = whole / ran, repeats / ran
        elif title in titles:
            mean, shared = of_titles[title], settings * (1 + 1 / len(titles[title]))
        else:
            mean, shared = sum(of_titles.values()) / len(of_titles), settings
            unseen[title] += number * mean  # type: ignore[assignment]
        total += number * mean
        variance += (number * mean) ** 2 * math.expm1(shared) + number * mean**2 * math.expm1(repeats)
    variance += sum(sure**2 for sure in unseen.values()) * math.expm1(models * (1 + 1 / len(titles)))
    seconds = remaining_seconds(total / count, count, running, slots)
    ratio = math.exp(_NORMAL_95 * math.sqrt(math.log1p(variance / total**2))) if total else 1.0
    return Remaining(seconds, seconds / ratio, seconds * ratio)


_SHORTEST = 0.01  # seconds
_NORMAL_95 = 1.645  # on each side: a 90 % interval
# Usual standard deviations of logarithms between repeats, settings of a model, and models; each counts like so many observations.
_USUAL_SPREADS = ((0.2, 2), (1.0, 2), (1.3, 2))


def _title(kind: str) -> str:
    """A kind without its batch size."""
    return re.sub(r"_b\d+$", "", kind)


def _moments(values: Iterable[float]) -> tuple[int, float, float]:
    """Count, and sum and sum of squares of the logarithms."""
    logs = [math.log(value) for value in values]
    return len(logs), sum(logs), sum(log**2 for log in logs)


def _pooled(groups: Iterable[tuple[int, float, float]], usual: float, weight: int) -> float:
    """The variance within groups, pooled with a usual standard deviation of this weight."""
    squares, freedom = weight * usual**2, weight
    for count, logs, of_squares in groups:
        squares += max(0.0, of_squares - logs**2 / count)
        freedom += count - 1
    return squares / freedom


def remaining_seconds(mean: float, left: float, running: Sequence[float], slots: int) -> float:
    """Seconds until the last experiment ends.

    Args:
        mean: Duration of an experiment in seconds.
        left: Experiments that have not ended, those that are running included.
        running: Elapsed seconds of each running experiment.
        slots: Experiments that run at the same time.
    """
    rests = [max(0.0, mean - taken) for taken in running]
    work = sum(rests) + mean * max(0, left - len(rests))
    # An experiment cannot be divided between slots.
    return max([work / max(1, min(slots, left)), *rests])
