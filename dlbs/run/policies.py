"""Policies of a run: when it stops early, also by a deadline, which experiments are retried, which are skipped, and which are finished."""

from __future__ import annotations

import datetime as dt
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from benchmark_core.doubts import warnings_of
from benchmark_core.exits import OUT_OF_MEMORY
from benchmark_core.log import STATUSES
from dlbs.core.errors import ConfigError, LogError
from dlbs.core.experiment import Experiment
from dlbs.core.logs import first_number, first_values, last_values
from dlbs.core.text import seconds_of, text
from dlbs.executors.base import Outcome

_LONGEST_PAUSE = 60.0


class Policies(NamedTuple):
    """The limits of a run: retries, failures and time.

    Attributes:
        retries: Retries of a failed experiment.
        max_failures: Number of failed experiments after which no more are started; 0 for no limit.
        deadline: Time (`time.monotonic()`) at which running experiments are stopped; None for none.
    """

    retries: int = 0
    max_failures: int = 0
    deadline: float | None = None

    def pause(self, attempt: int) -> float:
        """Seconds between attempt number `attempt` and the next one: 1, 2, 4, … at most 60."""
        return min(_LONGEST_PAUSE, 2.0 ** (attempt - 1))


def out_of_memory(exit_code: Any, message: str) -> bool:
    """Whether a failure was caused by lack of memory."""
    return exit_code == OUT_OF_MEMORY or "out of memory" in message.lower()


# Parameters that decide how much memory a batch needs, or how much there is.
_DECISIVE = (
    "framework", "device_type", "device_title", "model", "model_opts", "phase", "dtype", "pack", "gpus", "nodes",
    "num_replicas",
)  # fmt: skip
_SIZES = {"exp.replica_batch", "exp.effective_batch", "exp.repeat"}
_LENGTHS = {"exp.num_batches", "exp.num_warmup_batches", "exp.seed"}
_OUR_PROGRAMS = {"pytorch", "train", "jax", "onnxruntime"}  # known to need the same memory for any number of batches


class BatchLimits:
    """The smallest batch size that did not fit into memory, for experiments that differ in nothing that may change the memory they need.

    Another implementation, command or partition of a cluster may have room for a batch for which the first one has none. A limit that is
    not applied costs a failed experiment; one that is applied to the wrong experiment costs a result.

    Args:
        differing: The parameters that differ within the plan, without those that are computed from others.
        logs: Paths of logs that earlier runs of the plan may have left. They are read when the first experiment is about to start: the
            plan may have larger batches before the one that did not fit.
    """

    def __init__(self, differing: Iterable[str] = (), logs: Iterable[str] = ()) -> None:
        names = dict.fromkeys((*(f"exp.{name}" for name in _DECISIVE), *differing))
        self._names = tuple(name for name in names if name not in _SIZES)
        self._names_of_ours = tuple(name for name in self._names if name not in _LENGTHS)
        self._limits: dict[tuple[str, ...], int] = {}
        self._fitted: dict[tuple[str, ...], int] = {}
        self._logs = logs

    def learn(self, experiment: Experiment, outcome: Outcome) -> bool:
        """Record how an experiment ended; return whether that set a limit."""
        return self._learn(experiment, outcome.status, outcome.exit_code, outcome.message)

    def learn_from_log(self, experiment: Experiment, ending: Mapping[str, Any]) -> None:
        """Record how an experiment ended in an earlier run."""
        message = text(ending.get("exp.status_msg"))
        self._learn(experiment, ending.get("exp.status"), ending.get("exp.exit_code"), message)

    def _learn(self, experiment: Experiment, status: object, exit_code: Any, message: str) -> bool:
        batch = experiment.get("exp.replica_batch")
        if not isinstance(batch, int):
            return False
        key = self._key(experiment)
        if status == "ok":
            self._fitted[key] = max(batch, self._fitted.get(key, batch))
            if batch >= self._limits.get(key, batch + 1):
                del self._limits[key]
            return False
        found = status == "failure" and out_of_memory(exit_code, message) and batch > self._fitted.get(key, batch - 1)
        if found:
            self._limits[key] = min(batch, self._limits.get(key, batch))
        return found

    def reason_to_skip(self, experiment: Experiment) -> str:
        """The reason that an experiment would not fit into memory; empty if it may."""
        batch = experiment.get("exp.replica_batch")
        if self._logs:
            self._learn_from_logs()
        if not self._limits or not isinstance(batch, int) or experiment.get("exp.ignore_past_errors"):
            return ""
        limit = self._limits.get(self._key(experiment))
        if limit is None or batch <= limit:
            return ""
        return (
            f"batch size {limit} did not fit into memory, so {batch} was skipped (set exp.ignore_past_errors to try it)"
        )

    def _learn_from_logs(self) -> None:
        logs, self._logs = self._logs, ()
        fitted, too_large = [], []
        for log in _present(logs):
            with suppress(LogError):  # the driver records it
                ending = last_values(log)
                if ending.get("exp.status") == "ok":
                    fitted.append(log)
                elif out_of_memory(ending.get("exp.exit_code"), text(ending.get("exp.status_msg"))):
                    too_large.append((first_values(log), ending))
        least = min(
            (batch for one, _ in too_large if isinstance(batch := one.get("exp.replica_batch"), int)), default=0
        )
        if not least:
            return
        for log in fitted:  # first: a batch that did not fit is no limit below one that did
            with suppress(LogError):
                if (first_number(log, "exp.replica_batch") or 0) >= least:
                    self.learn_from_log(first_values(log), {"exp.status": "ok"})
        for one, ending in too_large:
            self.learn_from_log(one, ending)

    def _key(self, experiment: Experiment) -> tuple[str, ...]:
        ours = experiment.get("exp.framework") in _OUR_PROGRAMS
        return tuple(text(experiment.get(name)) for name in (self._names_of_ours if ours else self._names))


def _present(logs: Iterable[str]) -> list[str]:
    """Those that exist, found by listing their directories once: a plan that runs for the first time has none."""
    names: dict[str, set[str]] = {}
    found = []
    for log in logs:
        directory, name = os.path.split(log)
        if directory not in names:
            names[directory] = set()
            with suppress(OSError):
                names[directory].update(os.listdir(directory))
        if name in names[directory]:
            found.append(log)
    return found


_LONGEST_DEADLINE = 3650 * 86400.0  # later dates exceed the range of the system's calendar


def parse_duration(value: str, where: str) -> float:
    """Seconds of `90s`, `1h30m` or `1.5d`.

    Raises:
        ConfigError: The value has none of these forms, or is 0.
    """
    seconds = seconds_of(value)
    if not seconds:
        raise ConfigError(f"{value!r} is not a duration", where=where, hint="write 90s, 90m, 1h30m or 1d")
    return seconds


def parse_deadline(value: str) -> float:
    """The time (`time.monotonic()`) of `90m`, `2h`, `18:30` or `2026-11-30T18:30`.

    Raises:
        ConfigError: The value has none of these forms, or is in the past.
    """
    seconds = seconds_of(value)
    if seconds is None:
        seconds = _seconds_until(value)
    if seconds > _LONGEST_DEADLINE:
        raise ConfigError(
            f"{value[:80]} is too far in the future", where="--deadline", hint="use at most 10 years, or remove it"
        )
    return time.monotonic() + seconds


def _seconds_until(value: str) -> float:
    now = dt.datetime.now().astimezone()
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", value.strip()):
            moment = dt.datetime.combine(now.date(), dt.time.fromisoformat(value.strip().zfill(5))).astimezone()
            moment += dt.timedelta(days=moment <= now)
        else:
            moment = dt.datetime.fromisoformat(value.strip()).astimezone()
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{value!r} is neither a duration nor a time",
            where="--deadline",
            hint="write 90m, 1h30m, 18:30 or 2026-11-30T18:30",
        ) from None
    if moment <= now:
        raise ConfigError(f"{value} is in the past", where="--deadline")
    return (moment - now).total_seconds()


def is_finished(experiment: Experiment, ending: dict[str, object], limits: BatchLimits, change: str = "") -> bool:
    """Whether an experiment need not run again, by the policy `exp.rerun`, the end of its log, and the batches that did not fit into memory.

    Args:
        experiment: Its parameters.
        ending: The values near the end of its log.
        limits: The batches that did not fit.
        change: The change of its code or software since, for the policy `changed`.
    """
    policy = experiment.get("exp.rerun", "never")
    status = ending.get("exp.status")
    if policy == "always" or status not in STATUSES or status == "cancelled":
        return False
    # A benchmark that skipped itself ran. One that an earlier run skipped is decided again.
    ran = "exp.exit_code" in ending or ending.get("exp.seconds")
    if status == "skipped" and not ran and not limits.reason_to_skip(experiment):
        return False
    if policy == "onfail":
        return status in {"ok", "skipped"}
    if policy == "changed":
        return not change
    return policy == "never" or status != "ok" or not warnings_of(ending)
