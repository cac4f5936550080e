"""From a configuration or a plan file to resolved experiments."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dlbs.config.config import Config, split_names, values_of
from dlbs.errors import ConfigError
from dlbs.experiment import Experiment
from dlbs.files import dlbs_root
from dlbs.language.functions import VOLATILE
from dlbs.plan.files import plan_contains
from dlbs.plan.order import ordered
from dlbs.plan.resolve import Processor
from dlbs.plan.saved import Saved
from dlbs.version import __version__

__all__ = ["Repeats", "planned_and_ordered", "processor_for", "resolved_in_order", "resolved_plan", "unlabelled_names"]


def processor_for(config: Config) -> Processor:
    """Make a `Processor` with the configuration's declarations, and with the paths of DLBS and its Python.

    `${DLBS_ROOT}`, `${DLBS_PYTHON}` and `${DLBS_VERSION}` can be referenced like environment variables, which override the first two.
    """
    environ = {"DLBS_ROOT": str(dlbs_root()), "DLBS_PYTHON": sys.executable or "python3", **os.environ}
    environ["DLBS_VERSION"] = __version__
    return Processor(config.declarations, environ, config.varying_names())


def resolved_plan(
    config: Config, plan: str | None, *, order: str = "plan", seed: int = 0, **overrides: Any
) -> Callable[[], Iterator[Experiment]]:
    """Return a function that iterates over the resolved plan: plans are streams.

    Args:
        config: Makes the plan, or only declares the parameters of a given one.
        plan: A plan file. `-P` also applies to its experiments.
        order: The order, and the seed of a random one.
        overrides: Values that override all others.

    Raises:
        ConfigError: The configuration contains something that would have no effect on the given plan.
    """
    raw = _raw(config, plan)

    def experiments() -> Iterator[Experiment]:
        changed = ({**one, **overrides} for one in raw()) if overrides else raw()
        return resolved_in_order(config, changed, order, seed)

    return experiments


def planned_and_ordered(
    config: Config, plan: str | None, *, order: str, seed: int, **overrides: Any
) -> tuple[Callable[[], Iterator[Experiment]], Callable[[], Iterator[Experiment]]]:
    """Return two functions that iterate over the same resolved experiments: in the plan's order, and in that of execution.

    The arguments are those of `resolved_plan`. Values that differ each time are computed once.
    """
    planned = resolved_plan(config, plan, **overrides)
    if not _is_volatile(config, plan):
        return planned, resolved_plan(config, plan, order=order, seed=seed, **overrides)
    held: list[Experiment] = []

    def first() -> Iterator[Experiment]:
        if not held:
            held.extend(planned())
        return iter(held)

    return first, lambda: ordered(first(), order, seed)


def _is_volatile(config: Config, plan: str | None) -> bool:
    """Whether values of a plan may differ each time they are computed; true for any text that names such a function."""
    if plan is not None:
        return plan_contains(plan, VOLATILE) or _names_volatile(config.parameters())
    parts = [[one.parameters, one.cases] for one in config.extensions]
    return _names_volatile([config.parameters(), config.variables, parts])


def _names_volatile(values: Any) -> bool:
    words = json.dumps(values)
    return any(name in words for name in VOLATILE)


def resolved_in_order(config: Config, raw: Iterable[Experiment], order: str, seed: int) -> Iterator[Experiment]:
    """Resolve raw experiments in one of `ORDERS`."""
    processor = processor_for(config)
    experiments: Iterable[Experiment] = ordered(raw, order, seed)
    if order == "random":
        experiments = list(experiments)
        processor.expect_random_order(experiments)
    return processor.resolve_all(experiments)


def unlabelled_names(config: Config, plan: str | None) -> set[str]:
    """Parameters that labels of experiments omit: those outside the identity, or computed from others.

    Args:
        config: Makes the plan, or only declares its parameters.
        plan: A plan file.
    """
    given = {name for key in config.variables for name in split_names(key)}
    computed = {name for name in config.known_names() - given if all(map(_refers, values_of(config, name)))}
    if plan is not None:
        own = next(Saved(config, plan).as_written(), {})
        raw = {name for name, value in own.items() if _refers(value)}
        computed = raw or computed  # a resolved plan contains only final values
    return computed | {name for name, parameter in config.declarations.items() if not parameter.identity}


def _refers(value: Any) -> bool:
    words = value if isinstance(value, str) else json.dumps(value)
    return any(mark in words for mark in ("${", "$<"))


def _raw(config: Config, plan: str | None) -> Callable[[], Iterator[Experiment]]:
    """Return a function that iterates over the raw experiments of a configuration, or over those of a plan file.

    Raises:
        ConfigError: The configuration contains something that would have no effect on the given plan.
    """
    if plan is not None:
        return Saved(config, plan).__iter__
    from dlbs.plan.build import build

    return lambda: build(config)


class Repeats:
    """The experiments of a plan, with any number of repeats of each, equal to those of `exp.repeats`.

    Args:
        config: Makes the plan, or only declares the parameters of a given one.
        plan: A plan file. `-P` also applies to its experiments.

    Raises:
        ConfigError: `exp.repeats` is set, or two runs would write to the same log.
    """

    def __init__(self, config: Config, plan: str | None = None) -> None:
        self._processor = processor_for(config)
        self._raw: list[Experiment] = []
        logs: set[str] = set()
        self._drawn: dict[tuple[int, int], Experiment] | None = {} if _is_volatile(config, plan) else None
        for raw in _raw(config, plan)():
            if str(raw.get("exp.repeats") or 1) not in {"1", "1.0"}:
                setting = config.settings.get("exp.repeats")
                given = plan is None or "exp.repeats" in config.from_command_line
                remedy = "remove it, or override it with -Pexp.repeats=1" if given else "build the plan without it"
                raise ConfigError(
                    "exp.repeats must be 1, because --until-known determines the number of repeats",
                    where=setting.where if setting and given else plan or "",
                    hint=f"{remedy}; --max-repeats limits the repeats",
                )
            self._raw.append(raw)
            first, second = (self.experiment(len(self._raw) - 1, repeat) for repeat in (1, 2))
            if first.get("exp.status") in {"inactive", "simulate"}:
                self._raw.pop()
                self._drawn = (
                    None
                    if self._drawn is None
                    else {key: one for key, one in self._drawn.items() if key[0] < len(self._raw)}
                )
                continue
            log = str(first["exp.log_file"])
            if log == second["exp.log_file"]:
                raise ConfigError(
                    f"all repeats of an experiment would write to the same log file: {log}",
                    where="exp.log_file",
                    hint="add ${exp.id} to exp.log_file; write a plan without --resolve",
                )
            if log in logs:
                raise ConfigError(
                    f"two experiments would write to the same log file: {log}",
                    where="exp.log_file",
                    hint="add a parameter that differs, or ${exp.id}, to exp.log_file",
                )
            logs.add(log)

    def __len__(self) -> int:
        return len(self._raw)

    def experiment(self, number: int, repeat: int) -> Experiment:
        """Experiment `number`, from 0, resolved for one repeat, from 1."""
        if self._drawn is None:
            return self._processor.resolve({**self._raw[number], "exp.repeat": repeat})
        found = self._drawn.get((number, repeat))
        if found is None:
            found = self._drawn[number, repeat] = self._processor.resolve({**self._raw[number], "exp.repeat": repeat})
        return found
