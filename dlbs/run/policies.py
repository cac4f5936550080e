"""Policies of a run: when it stops early, which experiments are retried, and which are skipped."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlbs.errors import ConfigError
from dlbs.executors.base import Outcome
from dlbs.exit_codes import OUT_OF_MEMORY
from dlbs.experiment import Experiment
from dlbs.text import text

__all__ = ["BatchLimits", "Policies", "out_of_memory", "parse_deadline", "parse_duration"]

_LONGEST_PAUSE = 60.0
_LONGEST_DEADLINE = 3650 * 86400.0  # later dates exceed the range of the system's calendar
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Policies:
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


def parse_duration(value: str, where: str) -> float:
    """Seconds of `90s`, `90m`, `2h` or `1.5d`.

    Raises:
        ConfigError: The value has none of these forms, or is 0.
    """
    seconds = _seconds(value)
    if not seconds:
        raise ConfigError(f"{value!r} is not a duration", where=where, hint="write 90s, 90m, 2h or 1d")
    return seconds


def _seconds(value: str) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", value.strip())
    return float(found[1]) * _UNITS[found[2]] if found else None


def parse_deadline(value: str) -> float:
    """The time (`time.monotonic()`) of `90m`, `2h`, `18:30` or `2026-11-30T18:30`.

    Raises:
        ConfigError: The value has none of these forms, or is in the past.
    """
    seconds = _seconds(value)
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
            hint="write 90m, 2h, 18:30 or 2026-11-30T18:30",
        ) from None
    if moment <= now:
        raise ConfigError(f"{value} is in the past", where="--deadline")
    return (moment - now).total_seconds()


def out_of_memory(exit_code: Any, message: str) -> bool:
    """Whether a failure was caused by lack of memory."""
    return exit_code == OUT_OF_MEMORY or "out of memory" in message.lower()


@dataclass(slots=True)
class BatchLimits:
    """The smallest batch size that did not fit into memory, for each framework, device, model, phase and data type."""

    _limits: dict[tuple[str, ...], int] = field(default_factory=dict)

    def learn(self, experiment: Experiment, outcome: Outcome) -> bool:
        """Record how an experiment ended; return whether that set a limit."""
        found = outcome.status == "failure" and out_of_memory(outcome.exit_code, outcome.message)
        if found:
            self._note(experiment)
        return found

    def learn_from_log(self, experiment: Experiment, ending: Mapping[str, Any]) -> None:
        """Record how an experiment ended in an earlier run."""
        failed = ending.get("exp.status") == "failure"
        if failed and out_of_memory(ending.get("exp.exit_code"), text(ending.get("exp.status_msg"))):
            self._note(experiment)

    def _note(self, experiment: Experiment) -> None:
        batch = experiment.get("exp.replica_batch")
        if isinstance(batch, int):
            key = _key(experiment)
            self._limits[key] = min(batch, self._limits.get(key, batch))

    def reason_to_skip(self, experiment: Experiment) -> str:
        """The reason that an experiment would not fit into memory; empty if it may."""
        batch = experiment.get("exp.replica_batch")
        limit = self._limits.get(_key(experiment))
        if limit is None or not isinstance(batch, int) or batch <= limit or experiment.get("exp.ignore_past_errors"):
            return ""
        return (
            f"batch size {limit} did not fit into memory, so {batch} was skipped (set exp.ignore_past_errors to try it)"
        )


def _key(experiment: Experiment) -> tuple[str, ...]:
    names = ("framework", "device_type", "device_title", "model", "model_opts", "phase", "dtype")
    return tuple(text(experiment.get(f"exp.{name}")) for name in names)
