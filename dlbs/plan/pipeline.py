"""From a configuration or a plan file to resolved experiments."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dlbs.config.config import Config, split_names, values_of
from dlbs.config.names import check_names
from dlbs.errors import ConfigError
from dlbs.experiment import HIDDEN, Experiment
from dlbs.files import dlbs_root
from dlbs.plan.files import read_plan
from dlbs.plan.order import ordered
from dlbs.plan.resolve import Processor
from dlbs.version import __version__

__all__ = ["Repeats", "processor_for", "resolved_in_order", "resolved_plan", "unlabelled_names"]


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
    """
    given = {**_given(config, plan), **overrides}

    def experiments() -> Iterator[Experiment]:
        raw = _raw(config, plan)
        return resolved_in_order(config, ({**one, **given} for one in raw), order, seed)

    return experiments


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
        own = next(_known(config, plan), {})
        raw = {name for name, value in own.items() if _refers(value)}
        computed = raw or computed  # a resolved plan contains only final values
    return computed | {name for name, parameter in config.declarations.items() if not parameter.identity}


def _refers(value: Any) -> bool:
    words = value if isinstance(value, str) else json.dumps(value)
    return any(mark in words for mark in ("${", "$<"))


def _raw(config: Config, plan: str | None) -> Iterator[Experiment]:
    """The raw experiments of a configuration, or those of a plan file, for which nothing is built."""
    if plan is not None:
        return _known(config, plan)
    from dlbs.plan.build import build

    return build(config)


def _known(config: Config, plan: str) -> Iterator[Experiment]:
    """Yield the experiments of a plan file; its names are checked like those of a configuration."""
    checked: set[tuple[str, ...]] = set()
    for number, experiment in enumerate(read_plan(plan), start=1):
        names = tuple(experiment)
        if names not in checked:
            check_names(config, [name for name in names if not name.startswith(HIDDEN)], f"{plan}: experiment {number}")
            checked.add(names)
        yield experiment


class Repeats:
    """The experiments of a plan, with any number of repeats of each, equal to those of `exp.repeats`.

    Args:
        config: Makes the plan, or only declares the parameters of a given one.
        plan: A plan file. `-P` also applies to its experiments.

    Raises:
        ConfigError: `exp.repeats` is set, or two runs would write to the same log.
    """

    def __init__(self, config: Config, plan: str | None = None) -> None:
        self._given = _given(config, plan)
        self._processor = processor_for(config)
        self._raw: list[Experiment] = []
        logs: set[str] = set()
        for raw in _raw(config, plan):
            if str(raw.get("exp.repeats") or 1) != "1":
                setting = config.settings.get("exp.repeats")
                raise ConfigError(
                    "exp.repeats must be 1, because --until-known determines the number of repeats",
                    where=setting.where if setting else plan or "",
                    hint="remove it, or override it with -Pexp.repeats=1; --max-repeats limits the repeats",
                )
            self._raw.append(raw)
            first, second = (self.experiment(len(self._raw) - 1, repeat) for repeat in (1, 2))
            if first.get("exp.status") in {"inactive", "simulate"}:
                self._raw.pop()
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
        return self._processor.resolve({**self._raw[number], **self._given, "exp.repeat": repeat})


def _given(config: Config, plan: str | None) -> dict[str, Any]:
    """The parameters that the command line sets in a plan file.

    Raises:
        ConfigError: The command line sets a variable.
    """
    if plan is None:
        return {}
    if config.variables:
        names = ", ".join(config.variable_origins.values())
        raise ConfigError(
            "variables cannot be combined with --plan",
            where=names,
            hint="use them in dlbs build, which writes the plan",
        )
    return {name: config.settings[name].value for name in config.from_command_line}
