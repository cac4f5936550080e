"""The grid of a plan: the ordered product of the variables, and repeats."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from dlbs.config.config import Config, split_names
from dlbs.errors import ConfigError, suggestion
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
    order = setting.value if setting else None
    if not order:
        return written
    assert setting is not None
    if not isinstance(order, list):
        raise ConfigError("sys.plan_builder.var_order must be a list of variables", where=setting.where)
    found = []
    for given in order:
        # Parameters that -P sets do not vary.
        key = ",".join(name for name in split_names(str(given)) if name not in config.from_command_line)
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


def repeated(experiment: Experiment) -> Iterator[Experiment]:
    """Yield an experiment exp.repeats times, numbered by exp.repeat.

    Raises:
        ConfigError: exp.repeats is not a constant positive integer.
    """
    repeats = experiment.get("exp.repeats", 1)
    if is_template(repeats) or not isinstance(repeats, (int, str)) or isinstance(repeats, bool):
        raise ConfigError(f"exp.repeats must be a constant number, not {json.dumps(repeats)}")
    try:
        count = int(repeats)
    except ValueError:
        raise ConfigError(f"exp.repeats must be a number, not {json.dumps(repeats)}") from None
    if count < 1:
        raise ConfigError(f"exp.repeats must be at least 1, not {count}")
    if count == 1:
        yield experiment
        return
    for repeat in range(1, count + 1):
        yield {**experiment, "exp.repeat": repeat}
