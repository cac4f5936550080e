"""A configuration: declarations, settings, variables and extensions, each with its origin."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from dlbs.config.declarations import Parameter

__all__ = ["Config", "Extension", "Setting", "values_of"]


def values_of(config: Config, name: str) -> list[Any]:
    """All raw values that a parameter can have in the experiments of a plan."""
    values = [config.settings[name].value] if name in config.settings else []
    for key, column in config.variables.items():
        names = split_names(key)
        if name in names:
            values = list(column) if len(names) == 1 else [row[names.index(name)] for row in column]
    for extension in config.extensions:
        values += [given[name] for given in (extension.parameters, *extension.cases) if name in given]
    return values


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter's raw value and where it was set (`file:line` or `-P`)."""

    value: Any
    where: str


@dataclass(frozen=True, slots=True)
class Extension:
    """Parameters that are added to experiments that meet a condition."""

    condition: dict[str, Any]
    parameters: dict[str, Any]
    cases: list[dict[str, Any]]
    where: str


@dataclass(slots=True)
class Config:
    """The complete input of a plan.

    Attributes:
        declarations: Name → declaration of each declared parameter.
        settings: Name → value and origin.
        variables: Name (or names joined by commas) → values; their product is the plan.
        variable_origins: Names as in `variables` → where they were set.
        extensions: In order of precedence.
        exclude: Conditions of experiments that are excluded from the plan.
        builds_on: Framework → the frameworks whose parameters its experiments have in addition to its own.
        builds_on_origins: Frameworks as in `builds_on` → where that was set.
        packs: Pack that the plan names → the frameworks whose parameters its experiments have in addition to those of `pack`.
        namespaces: The first parts of all shipped names; within them, only declared names are allowed.
        from_command_line: Names given by `-P`; an extension that overwrites one causes a warning.
        fixed: Names whose variable was replaced with one value, by `-P` or a later file.
        typed: Names that only the command line sets → the flag.
    """

    declarations: dict[str, Parameter] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    variables: dict[str, list[Any]] = field(default_factory=dict)
    variable_origins: dict[str, str] = field(default_factory=dict)
    extensions: list[Extension] = field(default_factory=list)
    exclude: list[Extension] = field(default_factory=list)
    builds_on: dict[str, tuple[str, ...]] = field(default_factory=dict)
    builds_on_origins: dict[str, str] = field(default_factory=dict)
    packs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    from_command_line: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    typed: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Config:
        """A copy that can be changed independently."""
        return Config(
            declarations=self.declarations.copy(),
            settings={
                name: Setting(copy.deepcopy(setting.value), setting.where)
                if isinstance(setting.value, (dict, list))
                else setting
                for name, setting in self.settings.items()
            },
            variables=copy.deepcopy(self.variables),
            variable_origins=self.variable_origins.copy(),
            extensions=copy.deepcopy(self.extensions),
            exclude=copy.deepcopy(self.exclude),
            builds_on=self.builds_on.copy(),
            builds_on_origins=self.builds_on_origins.copy(),
            packs=self.packs.copy(),
            namespaces=self.namespaces,
            from_command_line=self.from_command_line.copy(),
            fixed=self.fixed.copy(),
            typed=self.typed.copy(),
        )

    def parameters(self) -> dict[str, Any]:
        """All settings: name → raw value."""
        return {name: setting.value for name, setting in self.settings.items()}

    def is_shipped(self, name: str) -> bool:
        """Whether a parameter has the default value of its declaration."""
        declaration, setting = self.declarations.get(name), self.settings.get(name)
        return declaration is not None and setting is not None and setting.where == declaration.where

    def frameworks_under(self, framework: str, pack: str = "") -> frozenset[str]:
        """A framework and all frameworks that it, or the pack that it runs, builds on."""
        found: set[str] = set()
        waiting = [framework, *(self.packs.get(pack, ()) if framework == "pack" else ())]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.builds_on.get(one, ())
        return frozenset(found)

    def known_names(self) -> set[str]:
        """All names that this configuration defines."""
        names = set(self.settings) | set(self.declarations)
        names.update(name for key in self.variables for name in split_names(key))
        for extension in self.extensions:
            names.update(extension.parameters)
            names.update(name for case in extension.cases for name in case)
        return names

    def varying_names(self) -> set[str]:
        """Parameters whose raw values may differ between the experiments of the plan."""
        names = {name for key in self.variables for name in split_names(key)}
        for extension in self.extensions:
            names.update(extension.parameters, *extension.cases)
        return names | {"exp.repeat"}

    def origin(self, name: str) -> str:
        """The place where a parameter's value was set, unless an extension sets it."""
        for key, where in self.variable_origins.items():
            if name in split_names(key):
                return where
        return self.settings[name].where if name in self.settings else ""


def split_names(key: str) -> list[str]:
    """The parameters that one variable sets: `"exp.model,exp.replica_batch"` sets two together."""
    return [name.strip() for name in key.split(",")]
