"""The first stage of the pipeline: build a configuration from files, `-P/-V/-E`, packs and commands.

The command line and Python callers both begin here. It depends on `config/`, which is independent of packs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from dlbs.config.config import Assignments, Config, Extension, assignments, split_names, values_of
from dlbs.config.load import load_config
from dlbs.config.user_command import (
    FRAMEWORK,
    add_command,
    check_placeholders,
    command_parameters,
    misplaced_options,
    own_options,
    with_references,
)
from dlbs.core.errors import ConfigError, Problems, log

if TYPE_CHECKING:
    from dlbs.packs.pack import Pack


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
        variables: `{"exp.model": ["alexnet", "vgg16"]}`, or `name=a,b` texts as `-V` takes them.
        extensions: Mappings with a condition, or their JSON texts.
        discard_default: Ignore the shipped values but keep the declarations.
        select: Run the packs with one of these words as name, tag or install group.
        exclude: Exclude those with one of these words, from `exp.pack` if it is set.
        plan: A saved plan whose experiments `parameters` will change; its names are accepted too.
        command: Benchmark this command; `{name}` in its words refers to a parameter.

    Raises:
        ConfigError: Malformed values, unknown keys, names or packs, wrong types, unused parameters; all in one error.
    """
    problems = Problems()
    given = dict(assignments("-P", parameters, problems))
    varied = dict(assignments("-V", variables, problems))
    select, exclude = list(select), list(exclude)
    if (select or exclude) and not any("exp.framework" in split_names(key) for key in varied):
        given.setdefault("exp.framework", "pack")
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
        if select or exclude:
            _choose_packs(config, select, exclude)
        if "pack" in values_of(config, "exp.framework"):
            add_packs(config)
        for name in command_parameters(words) if words else ():
            config.settings[name] = config.settings[name]._replace(where=f"-- {' '.join(words)}")
        add_command(config)
    if words:
        with problems:
            check_placeholders(config, words)
        for word in misplaced_options(config, words):
            log("warning", "%s is passed to the command; put options of dlbs before --", word)
    if config.typed:
        from dlbs.packs.typed_names import check_typed_names

        with problems:
            check_typed_names(config, plan)
    problems.raise_all()
    return config


def _choose_packs(config: Config, select: Sequence[str], exclude: Sequence[str]) -> None:
    """Set exp.pack to the packs of `--select` and `--exclude`; `--exclude` alone removes packs from those that are set.

    Raises:
        ConfigError: A word matches no pack, no pack is left, the framework is another one, or `-P` or `-V` selects packs too.
    """
    from dlbs.packs.definition import find_pack, find_packs

    where = "--select" if select else "--exclude"
    if "pack" not in values_of(config, "exp.framework"):
        raise ConfigError(
            "packs are chosen, but exp.framework is not pack",
            where=f"{where}, {config.origin('exp.framework')}",
            hint="remove one of them",
        )
    chosen = chosen_packs(select, exclude)
    origin = config.origin("exp.pack")
    if select and origin.startswith(("-P", "-V")):
        raise ConfigError(
            f"{origin} chooses packs, too", where=where, hint="remove one of them; --exclude removes packs from others"
        )
    if select or not any(values_of(config, "exp.pack")):
        for key in [key for key in config.variables if "exp.pack" in split_names(key)]:  # those of a file
            del config.variables[key], config.variable_origins[key]
        config.set_variable("exp.pack", chosen, where)
        return
    left, packs = set(chosen), find_packs()

    def is_removed(value: Any) -> bool:
        if str(value) in packs:
            return str(value) not in left
        with contextlib.suppress(ConfigError):  # reported when it is added
            pack = find_pack(str(value))  # a directory
            return not {pack.name, pack.install_group, *pack.tags}.isdisjoint(exclude)
        return False

    for key, rows in config.variables.items():
        names = split_names(key)
        if "exp.pack" in names:
            place = names.index("exp.pack")
            config.variables[key] = [row for row in rows if not is_removed(row[place] if len(names) > 1 else row)]
    setting = config.settings.get("exp.pack")
    if not all(config.variables.values()) or (setting is not None and is_removed(setting.value)):
        raise ConfigError(f"no pack is left of {origin}", where=where, hint="run dlbs pack list")
    removed = [value for value in values_of(config, "exp.pack") if is_removed(value)]
    if removed:  # by extensions
        config.exclude.append(Extension({"exp.pack": removed}, {}, [], where))


def _with_command(given: dict[str, Any], words: Sequence[str], plan: object) -> dict[str, Any]:
    """The given parameters and those of a command.

    Raises:
        ConfigError: The command is missing, or conflicts with a plan or framework.
    """
    parameters = command_parameters(words)
    if plan is not None:
        raise ConfigError("experiments and a command cannot be combined", where="--plan", hint="remove one of them")
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


def add_packs(config: Config) -> None:
    """Insert the extensions of the packs that a configuration names before its own extensions.

    Values that the user sets, in a file or on the command line, win.

    Raises:
        ConfigError: A pack is unknown, or its definition is malformed.
    """
    names = [str(name) for name in values_of(config, "exp.pack") if name not in (None, "")]
    if not names:
        raise ConfigError(
            "no pack is chosen", where="exp.pack", hint="set -Pexp.pack=NAME or --select NAME,...; run dlbs pack list"
        )
    from dlbs.packs.definition import find_pack
    from dlbs.packs.kinds import kind_of

    given = config.given_names()
    extensions = []
    for name in dict.fromkeys(names):
        pack = find_pack(name)
        if pack.num_machines > 1:
            raise ConfigError(
                f"{pack.name} requires {pack.num_machines} machines; packs run on one machine only", where=pack.where
            )
        config.packs[name] = kind_of(pack).builds_on
        parameters = {key: value for key, value in parameters_of(pack, given).items() if key not in given}
        config.check_names(parameters, pack.where)
        cases = [] if "exp.job" in given else _cases(pack, given)
        extensions.append(
            Extension({"exp.framework": "pack", "exp.pack": re.escape(name)}, parameters, cases, pack.where)
        )
    config.extensions[:0] = extensions


def chosen_packs(select: Iterable[str], exclude: Iterable[str]) -> list[str]:
    """The names of selected packs.

    Raises:
        ConfigError: A word matches no pack, or no pack is left.
    """
    from dlbs.packs import definition

    chosen = [pack.name for pack in definition.select(definition.find_packs().values(), select, exclude)]
    if not chosen:
        raise ConfigError("no pack is left", where="--exclude", hint="run dlbs pack list")
    return chosen


def parameters_of(pack: Pack, given: Set[str] = frozenset()) -> dict[str, Any]:
    """The parameters that a pack sets, for a user who sets some names."""
    from dataclasses import replace

    from dlbs.packs.kinds import filled, kind_of
    from dlbs.packs.pack import Places

    places = Places.of()
    return kind_of(pack).parameters(replace(pack, argv=filled(pack.argv, pack, places)), places, given)


def _cases(pack: Pack, given: Set[str]) -> list[dict[str, Any]]:
    """Cases of a pack's plan: one experiment per GPU, unless the user chose GPUs, or several equal ones."""
    from benchmark_core.gpus import visible_gpus

    method = pack.plan.get("method")
    if method == "per_gpu":
        if "exp.gpus" in given:
            return []
        return [{"exp.gpus": str(gpu), "exp.job": number} for number, gpu in enumerate(visible_gpus())]
    if method == "njobs" and pack.plan.get("n", 1) > 1:
        return [{"exp.job": number} for number in range(pack.plan["n"])]
    return []
