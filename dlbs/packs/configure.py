"""The first stage of the pipeline: build a configuration from files, `-P/-V/-E`, packs and commands.

The command line and Python callers both begin here. It depends on `config/`, which is independent of packs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dlbs.config.command import (
    FRAMEWORK,
    add_command,
    check_placeholders,
    command_parameters,
    misplaced_options,
    own_options,
    with_references,
)
from dlbs.config.config import Config, values_of
from dlbs.config.flags import Assignments, assignments
from dlbs.config.load import load_config
from dlbs.errors import ConfigError, Problems

__all__ = ["configure"]

_log = logging.getLogger("dlbs")


def configure(
    files: Iterable[str | os.PathLike[str]] = (),
    *,
    parameters: Assignments = (),
    variables: Assignments = (),
    extensions: Iterable[str | Mapping[str, Any]] = (),
    discard_default: bool = False,
    select: Iterable[str] = (),
    exclude: Iterable[str] = (),
    plan: str | os.PathLike[str] | None = None,
    command: Sequence[str] | None = None,
) -> Config:
    """Load a configuration, and add the settings of the packs that it names.

    Args:
        files: Configuration files, later ones winning.
        parameters: `{"exp.model": "alexnet"}`, or `name=value` texts as `-P` takes them.
        variables: `{"exp.model": ["alexnet", "vgg16"]}`, or `name=[...]` texts as `-V` takes them.
        extensions: Mappings with a condition, or their JSON texts.
        discard_default: Ignore the shipped values but keep the declarations.
        select: Run the packs with one of these words as name, tag or install group.
        exclude: Exclude those with one of these words.
        plan: A saved plan whose experiments `parameters` will change; its names are accepted too.
        command: Benchmark this command; `{name}` in its words refers to a parameter.

    Raises:
        ConfigError: Malformed values, unknown keys, names or packs, wrong types, unused parameters; all in one error.
    """
    problems = Problems()
    given = dict(assignments("-P", parameters, problems))
    varied = dict(assignments("-V", variables, problems))
    select, exclude = list(select), list(exclude)
    if select or exclude:
        from dlbs.packs.extend import chosen_packs

        given["exp.framework"] = "pack"
        varied["exp.pack"] = chosen_packs(select, exclude)
    words: Sequence[str] = ()
    if command is not None:
        words, more_parameters, more_variables = own_options(command)
        given |= dict(assignments("-P", more_parameters, problems))
        varied |= dict(assignments("-V", more_variables, problems))
        given = _with_command(given, words, plan)
    config = load_config(
        files,
        parameters=given,
        variables=varied,
        extensions=extensions,
        discard_default=discard_default,
        problems=problems,
    )
    with problems:
        if "pack" in values_of(config, "exp.framework"):
            from dlbs.packs.extend import add_packs

            add_packs(config)
        for name in command_parameters(words) if words else ():
            config.settings[name] = replace(config.settings[name], where=f"-- {' '.join(words)}")
        add_command(config)
    if words:
        with problems:
            check_placeholders(config, words)
        for word in misplaced_options(config, words):
            _log.warning("%s is passed to the command; put options of dlbs before --", word)
    if config.typed:
        from dlbs.launch.reads import check_typed_names

        with problems:
            check_typed_names(config, plan)
    problems.raise_all()
    return config


def _with_command(given: dict[str, Any], words: Sequence[str], plan: object) -> dict[str, Any]:
    """The given parameters and those of a command.

    Raises:
        ConfigError: The command is missing, or conflicts with a plan or framework.
    """
    parameters = command_parameters(words)
    if plan is not None:
        raise ConfigError("a plan and a command cannot be combined", where="--plan", hint="remove one of them")
    if given.get("exp.framework", FRAMEWORK) != FRAMEWORK:
        raise ConfigError(
            f"a command requires the framework {FRAMEWORK}, not {given['exp.framework']}",
            where="-Pexp.framework",
            hint="remove it",
        )
    helpers: dict[str, Any] = {
        name: with_references(given[name]) for name in ("command.prepare", "command.cleanup") if name in given
    }
    return {**given, **helpers, **parameters}
