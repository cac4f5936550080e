"""Experiments of a plan file, with the values that `-P` sets in them; values that would have no effect are errors."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dlbs.config.config import Config, Setting
from dlbs.config.load import shipped_files
from dlbs.config.names import check_names
from dlbs.errors import ConfigError, DlbsError, Problems
from dlbs.experiment import HIDDEN, Experiment
from dlbs.files import dlbs_root
from dlbs.language.parser import has_references
from dlbs.language.references import reached
from dlbs.language.template import escape
from dlbs.plan.files import read_plan

__all__ = ["Saved"]

_BUILDING = ("exp.pack", "sys.plan_builder.var_order")  # parameters that `dlbs build` evaluates
_BUILD = "use them in dlbs build, which writes the plan"


class Saved:
    """The experiments of a plan file.

    Args:
        config: Declares the parameters. Only what `-P` sets applies to the experiments.
        plan: The file.

    Raises:
        ConfigError: The configuration contains values, variables, extensions or exclusions, which would have no effect.
    """

    def __init__(self, config: Config, plan: str) -> None:
        self._config, self._plan = config, plan
        problems = Problems()
        _check_unused(config, problems)
        problems.raise_all()
        self._given = {name: config.settings[name] for name in config.settings if name in config.from_command_line}
        self._values = {name: setting.value for name, setting in self._given.items()}
        # Name → the parameters that are computed from it: by default, or as the configuration sets them.
        self._readers: dict[str, set[str]] = {name: set() for name in self._given}
        values = [(name, parameter.default) for name, parameter in config.declarations.items()]
        values += config.parameters().items()
        for reader, value in values:
            for name in reached(value, set(self._given)):
                self._readers[name].add(reader)

    def as_written(self) -> Iterator[Experiment]:
        """Yield the experiments without the values of `-P`; their names are checked like those of a configuration."""
        checked: set[tuple[str, ...]] = set()
        for number, experiment in enumerate(read_plan(self._plan), start=1):
            names = tuple(experiment)
            if names not in checked:
                own = [name for name in names if not name.startswith(HIDDEN)]
                check_names(self._config, own, f"{self._plan}: experiment {number}")
                checked.add(names)
            yield experiment

    def __iter__(self) -> Iterator[Experiment]:
        """Yield the experiments with the values of `-P`, and with the repeats of `-Pexp.repeats`.

        Raises:
            ConfigError: A value would have no effect: the plan is resolved, or already has repeats.
        """
        if not self._given:
            yield from self.as_written()
            return
        for number, experiment in enumerate(self.as_written(), start=1):
            place = f"{self._plan}: experiment {number}"
            resolved = _is_resolved(experiment)
            unused = [name for name in self._given if self._is_unused(name, experiment, resolved)]
            if unused:
                where = ", ".join(_flag(self._given[name]) for name in unused)
                if resolved:
                    raise ConfigError(
                        f"would have no effect on {place}, because the plan is resolved: "
                        "values that depend on it are final",
                        where=where,
                        hint="build the plan again with it, or without --resolve",
                    )
                raise ConfigError(f"would have no effect on {place}", where=where, hint="build the plan again with it")
            changed = {**experiment, **self._values}
            if "exp.repeats" in self._given and not self._is_equal("exp.repeats", experiment):
                from dlbs.plan.grid import repeated

                yield from repeated(changed, self._config)
            else:
                yield changed

    def _is_unused(self, name: str, experiment: Experiment, resolved: bool) -> bool:
        """Whether a value of `-P` would be logged, but not used."""
        if self._is_equal(name, experiment):
            return False
        if name == "exp.repeats":
            return (resolved and "exp.id" in experiment) or experiment.get(name) not in (None, "", 1, "1")
        if name in _BUILDING:
            return True
        # A plan written by hand has no exp.id; it may lack parameters that launchers read.
        if not resolved or not (name in experiment or "exp.id" in experiment):
            return False
        parameter = self._config.declarations.get(name)
        identifies = parameter is None or parameter.identity
        return identifies or not self._readers[name].isdisjoint(experiment)

    def _is_equal(self, name: str, experiment: Experiment) -> bool:
        """Whether an experiment already has the value of `-P`."""
        if name not in experiment:
            return False
        value, parameter = self._values[name], self._config.declarations.get(name)
        if parameter is not None and not has_references(value):
            try:
                value = parameter.check(value)
            except DlbsError:  # reported when it is resolved
                return False
        same = (value, escape(value))  # final values are escaped in a plan
        return any(json.dumps(experiment[name]) == json.dumps(one) for one in same)


def _is_resolved(experiment: Experiment) -> bool:
    """Whether an experiment was written by `dlbs build --resolve`: its values no longer depend on each other."""
    if "exp.id" in experiment:
        return not any(has_references(experiment.get(name)) for name in ("exp.id", "exp.log_file"))
    return not any(map(has_references, experiment.values()))


def _flag(setting: Setting) -> str:
    return "--nodes (-Pexp.nodes)" if setting.where == "-Pexp.nodes" else setting.where


def _check_unused(config: Config, problems: Problems) -> None:
    """Find parts of a configuration that apply only when a plan is built."""
    shipped = {str(path) for path in shipped_files(dlbs_root())}

    def is_own(where: str) -> bool:
        return where.rpartition(":")[0] not in shipped

    if config.variables:
        where = ", ".join(config.variable_origins.values())
        with problems:
            raise ConfigError("variables cannot be combined with a plan file", where=where, hint=_BUILD)
    # The extensions of packs are the first ones.
    extensions = [one.where for one in config.extensions[len(config.packs) :] if is_own(one.where)]
    if extensions:
        with problems:
            raise ConfigError(
                "extensions cannot be combined with a plan file",
                where=", ".join(dict.fromkeys(extensions)),
                hint=_BUILD,
            )
    excluded = [one.where for one in config.exclude if is_own(one.where)]
    if excluded:
        with problems:
            raise ConfigError("exclude cannot be combined with a plan file", where=", ".join(excluded), hint=_BUILD)
    for name, setting in config.settings.items():
        if name not in config.from_command_line and not config.is_shipped(name) and is_own(setting.where):
            with problems:
                raise ConfigError(
                    f"the value of {name} cannot be combined with a plan file; a file may only declare parameters there",
                    where=setting.where,
                    hint=f"change the experiments of the plan with -P{name}, or build the plan again",
                )
