"""Set parameters and variables in a configuration, with errors at the place of each value."""

from __future__ import annotations

import json
import logging
from typing import Any

from dlbs.config.config import Config, Setting, split_names
from dlbs.errors import ConfigError, DlbsError
from dlbs.experiment import check_name
from dlbs.language.parser import parse
from dlbs.language.template import is_template

__all__ = ["check_value", "replace_variables", "set_parameter", "set_variable"]

_log = logging.getLogger("dlbs")


def set_parameter(config: Config, name: str, value: Any, where: str) -> None:
    check_name(name, where)
    check_value(config, name, value, where)
    config.settings[name] = Setting(value, where)


def check_value(config: Config, name: str, value: Any, where: str) -> None:
    try:
        parameter = config.declarations.get(name)
        if is_template(value):
            template = parse(value)
            if not template.is_literal:  # checked when resolved
                return
            value = template.literal
        if parameter is not None:
            parameter.check(value)
        if name == "exp.data" and parameter is not None and value != parameter.default:
            from dlbs.config.migration import value_hint

            if value_hint(name, value):  # declared, but without effect
                raise ConfigError(f"{name} cannot be set", where=where)
    except DlbsError as error:
        from dlbs.config.migration import expression_hint, value_hint

        hint = value_hint(name, value) or expression_hint(value) or error.hint
        raise ConfigError(error.what, where=where, hint=hint) from None


def set_variable(config: Config, given: str, values: Any, where: str) -> None:
    names = split_names(given)
    key = ",".join(names)
    if not isinstance(values, list):
        values = [values]
    if not values:
        raise ConfigError(f"variable {key!r} has no values", where=where, hint="give at least one: [value]")
    if len(set(names)) < len(names):
        raise ConfigError(f"variable {key!r} names a parameter twice", where=where, hint="name it once")
    for name in names:
        check_name(name, where)
    for value in values:
        if len(names) == 1:
            check_value(config, key, value, where)
            continue
        if not isinstance(value, list) or len(value) != len(names):
            raise ConfigError(
                f"each value of {key!r} must be a list of {len(names)}, not {json.dumps(value)[:80]}", where=where
            )
        for name, item in zip(names, value, strict=True):
            check_value(config, name, item, where)
    for name in names:
        if where.startswith("-V") and name in config.from_command_line:
            raise ConfigError(f"-P{name} sets the same parameter", where=where, hint="remove one of them")
    for other in [other for other in config.variables if other != key and set(split_names(other)) & set(names)]:
        # The command line replaces a file's values of the same parameters.
        if where.startswith("-V") and not config.variable_origins[other].startswith("-V"):
            del config.variables[other], config.variable_origins[other]
        else:
            raise ConfigError(f"variables {other!r} and {key!r} set the same parameter", where=where)
    config.variables[key] = values
    config.variable_origins[key] = where


def replace_variables(config: Config, name: str, where: str) -> None:
    """Make `-P` and later files take precedence: a parameter that they set does not vary, even if an earlier file has a variable for it."""
    for key in [key for key in config.variables if name in split_names(key)]:
        origin = config.variable_origins.pop(key)
        _log.info("%s replaces the values that %s gives to %s", where, origin, name)
        config.fixed.add(name)
        names, rows = split_names(key), config.variables.pop(key)
        if len(names) > 1:
            place = names.index(name)
            columns = [[*row[:place], *row[place + 1 :]] for row in rows]
            rest = columns if len(names) > 2 else [row[0] for row in columns]
            other = ",".join(names[:place] + names[place + 1 :])
            # Rows that differed only in this parameter are duplicates now.
            config.variables[other] = list({json.dumps(row): row for row in rest}.values())
            config.variable_origins[other] = origin
