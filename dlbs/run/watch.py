"""Watch a running plan repeatedly, reading only logs that have changed."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dlbs.errors import LogError
from dlbs.experiment import describe
from dlbs.logs import first_values, start_time
from dlbs.run.lastline import last_line, rate_in
from dlbs.run.locks import run_facts
from dlbs.run.planfile import read_plan_file
from dlbs.run.remaining import Durations, Remaining, remaining_time
from dlbs.run.status import State, ended_state, read_state
from dlbs.text import text

__all__ = ["Look", "Reason", "UnderWay", "Watch"]

_FAILED = ("failure", "timeout", "cancelled", "interrupted")
_MOST_SHOWN = 64  # running experiments
_MOST_REASONS = 10


@dataclass(frozen=True, slots=True)
class UnderWay:
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


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason of failures: status, message, number of experiments, and one of them."""

    status: str
    message: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Look:
    """The state of a plan now.

    Attributes:
        run: The facts that the active run has recorded; empty if there is none.
        since: Start of that run, in seconds since 1970.
        counts: Status → number of experiments.
        doubtful: Number of ok experiments with warnings about their numbers.
        planned: Number of experiments of the plan.
        ended: Number of experiments that have ended since the run began.
        under_way: Running experiments, ordered by slot.
        more: Number of running experiments that are not listed.
        reasons: Reasons of failures, the most frequent first.
        remaining: The remaining time.
        problems: Messages about files that could not be read.
    """

    run: dict[str, Any]
    since: float | None
    counts: dict[str, int]
    doubtful: int
    planned: int
    ended: int
    under_way: tuple[UnderWay, ...]
    more: int
    reasons: tuple[Reason, ...]
    remaining: Remaining | None
    problems: tuple[str, ...]

    @property
    def done(self) -> int:
        """Number of experiments that need no more work."""
        return sum(self.counts.get(status, 0) for status in ("ok", "failure", "timeout", "skipped", "cancelled"))


@dataclass
class Watch:
    """Watch a log directory, caching the content of each file until it changes.

    Attributes:
        directory: The log directory.
    """

    directory: Path
    _states: dict[str, tuple[tuple[int, int], State]] = field(default_factory=dict)
    _plan: tuple[tuple[int, int], tuple[str, ...], tuple[str, ...]] | None = None
    _slots: dict[str, int] = field(default_factory=dict)
    _heads: dict[str, dict[str, Any]] = field(default_factory=dict)

    def learn(self, log: Path, stamp: tuple[int, int], values: Mapping[str, Any]) -> None:
        """Take what somebody else has read from a complete log, so that it is not read again.

        Args:
            log: In the directory itself; others are none of the plan.
            stamp: Its size and time in ns.
            values: Of the whole log.
        """
        if log.parent == self.directory and log.name.endswith(".log"):
            self._states[log.name] = stamp, ended_state(log, values)

    def look(self) -> Look:
        """The current state of the plan. Unreadable files are listed as problems and raise no error."""
        problems: list[str] = []
        stamps = self._stamps(problems)
        differing, planned = self._planned(stamps, problems)
        run = run_facts(self.directory)
        under_way = "running" if run else "interrupted"
        names = list(dict.fromkeys([*sorted(_logs_in(stamps) - set(planned)), *planned]))
        states = [self._state(name, stamps, under_way) for name in names]
        self._states = {name: self._states[name] for name in names if name in self._states}
        running = [state for state in states if state.status == "running"]
        self._assign(running)
        since = _seconds_of(run.get("since"))
        shown = [self._under_way(state, differing) for state in running if self._slots[state.log.name] <= _MOST_SHOWN]
        return Look(
            run=run,
            since=since,
            counts=dict(Counter(state.status for state in states)),
            doubtful=sum(bool(state.warnings) for state in states),
            planned=len(states),
            ended=sum(
                since is not None and stamps[name][1] / 1e9 >= since
                for name, state in zip(names, states, strict=True)
                if name in stamps and state.status not in {"running", "interrupted"}
            ),
            under_way=tuple(sorted(shown, key=lambda one: one.slot)),
            more=len(running) - len(shown),
            reasons=_reasons(states),
            remaining=_remaining(states, shown) if run else None,
            problems=tuple(dict.fromkeys([*problems, *_unreadable(states)])),
        )

    def _stamps(self, problems: list[str]) -> dict[str, tuple[int, int]]:
        """Size and modification time of each file in the directory."""
        stamps = {}
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:  # renamed or removed since
                        continue
                    stamps[entry.name] = (status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            problems.append(f"{self.directory}: no such directory")
        except OSError as error:
            problems.append(f"{self.directory}: cannot be read: {error.strerror}")
        return stamps

    def _planned(
        self, stamps: dict[str, tuple[int, int]], problems: list[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The parameters that differ, and the logs of the plan."""
        from dlbs.run.planfile import PLAN_NAME

        stamp = stamps.get(PLAN_NAME)
        if stamp is None:
            return (), ()
        if self._plan is None or self._plan[0] != stamp:
            try:
                found = read_plan_file(self.directory)
            except LogError as error:
                problems.append(str(error))
                return (), ()
            self._plan = stamp, found.differing, found.logs
        return self._plan[1], self._plan[2]

    def _state(self, name: str, stamps: dict[str, tuple[int, int]], under_way: str) -> State:
        stamp = stamps.get(name)
        if stamp is None or f"{name}.part" in stamps:
            return read_state(self.directory / name, stamps.keys(), under_way, False)
        known = self._states.get(name)
        if known is None or known[0] != stamp:
            known = stamp, read_state(self.directory / name, stamps.keys(), under_way, False)
            self._states[name] = known
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


def _logs_in(stamps: dict[str, tuple[int, int]]) -> set[str]:
    return {name.removesuffix(".part") for name in stamps if name.endswith((".log", ".log.part"))}


def _seconds_of(value: Any) -> float | None:
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z").timestamp() if isinstance(value, str) else None
    except ValueError:
        return None


def _reasons(states: Sequence[State]) -> tuple[Reason, ...]:
    found: dict[tuple[str, str], list[State]] = {}
    for state in states:
        if state.status in _FAILED:
            found.setdefault((state.status, state.message), []).append(state)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return tuple(
        Reason(status, message, len(group), group[0].log.name) for (status, message), group in ordered[:_MOST_REASONS]
    )


def _remaining(states: Sequence[State], shown: Sequence[UnderWay]) -> Remaining | None:
    durations = Durations.of(state.seconds for state in states if state.seconds is not None)
    left = sum(state.status in {"running", "queued", "to do"} for state in states)
    taken = [one.seconds for one in shown if one.seconds is not None]
    return remaining_time(durations, left, taken, max(1, len(shown))) if left else None


def _unreadable(states: Sequence[State]) -> list[str]:
    return [
        f"{state.log}: {state.message}"
        for state in states
        if state.status == "interrupted" and "cannot be read" in state.message
    ]
