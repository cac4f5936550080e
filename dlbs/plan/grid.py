"""The grid of a plan: the ordered product of the variables, and repeats."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from dlbs.config.config import Config, split_names
from dlbs.errors import ConfigError, ResolveError, suggestion
from dlbs.experiment import Experiment
from dlbs.language.template import is_template

__all__ = ["grid", "repeated"]


def grid(base: Experiment, config: Config) -> Iterator[Experiment]:
    """Yield all combinations of the variables' values; the last variable changes fastest.

    Args:
        base: Parameters that do not vary.
        config: Contains the variables.

    Raises:
        ConfigError: sys.plan_builder.var_order is malformed.
    """
    variables = _ordered_variables(config)
    names = [split_names(key) for key in variables]
    if not names:
        yield base.copy()
        return
    for point in itertools.product(*(config.variables[key] for key in variables[:-1])):
        outer = base.copy()
        for keys, value in zip(names[:-1], point, strict=True):
            outer.update(zip(keys, value if len(keys) > 1 else (value,), strict=True))
        keys = names[-1]
        for value in config.variables[variables[-1]]:
            experiment = outer.copy()
            if len(keys) == 1:
                experiment[keys[0]] = value
            else:
                experiment.update(zip(keys, value, strict=True))
            yield experiment


def _ordered_variables(config: Config) -> list[str]:
    written = list(config.variables)
    setting = config.settings.get("sys.plan_builder.var_order")
    if setting is None or not setting.value:
        return written
    order = config.declarations["sys.plan_builder.var_order"].check(setting.value)
    varying = {name for key in written for name in split_names(key)}
    fixed = (config.fixed | config.from_command_line) - varying
    found = []
    for given in order:
        key = ",".join(name for name in split_names(str(given)) if name not in fixed)
        if key and key not in written:
            raise ConfigError(
                f"sys.plan_builder.var_order names {given!r}, which is not a variable",
                where=setting.where,
                hint=suggestion(str(given), written, "variables are"),
            )
        if key in found:
            raise ConfigError(
                f"sys.plan_builder.var_order names {given!r} twice", where=setting.where, hint="name it once"
            )
        found += [key] if key else []
    return [*found, *(key for key in written if key not in found)]


def repeated(experiment: Experiment, config: Config) -> Iterator[Experiment]:
    """Yield an experiment exp.repeats times, numbered by exp.repeat.

    Args:
        experiment: Its parameters, unresolved.
        config: Declares exp.repeats.

    Raises:
        ConfigError: exp.repeats is not a constant positive integer.
    """
    repeats = experiment.get("exp.repeats", 1)
    if repeats.__class__ is not int:
        if is_template(repeats):
            raise ConfigError(f"exp.repeats must be a constant number, not {json.dumps(repeats)}")
        try:
            repeats = config.declarations["exp.repeats"].check(repeats)
        except ResolveError as error:
            raise ConfigError(error.what, hint=error.hint) from None
    if repeats < 1:
        raise ConfigError(f"exp.repeats must be at least 1, not {repeats}")
    if repeats == 1:
        yield experiment
        return
    for repeat in range(1, repeats + 1):
        yield {**experiment, "exp.repeat": repeat}
