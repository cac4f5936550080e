"""A configuration: declarations, settings, variables and extensions, each with its origin; setting them with checks of name and value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dlbs.config.declarations import SCALARS, Parameter
from dlbs.core.errors import ConfigError, DlbsError, Problems, log, require
from dlbs.core.experiment import check_name
from dlbs.core.files import JsonError, load_json
from dlbs.core.text import text
from dlbs.language.patterns import compiled
from dlbs.language.template import is_template, parse

if TYPE_CHECKING:
    import pandas as pd

OPEN = ("runtime.env.", "slurm.", "voir.", "exp.sys.")  # DLBS's namespaces in which any name is allowed
_ACCEPTED = {
    "monitor.frequency"
}  # names of the original that are accepted with a warning, since they are exact synonyms

Assignments = Mapping[str, Any] | Iterable[str]  # {name: value}, or the strings name=value of -P and -V


class Setting(NamedTuple):
    """A parameter's raw value and where it was set (`file:line` or `-P`)."""

    value: Any
    where: str


class Extension(NamedTuple):
    """Parameters that are added to experiments that meet a condition."""

    condition: dict[str, Any]
    parameters: dict[str, Any]
    cases: list[dict[str, Any]]
    where: str

    def assigned(self) -> Iterator[tuple[str, Any]]:
        """The names and values that it sets, in all cases."""
        for parameters in (self.parameters, *self.cases):
            yield from parameters.items()


@dataclass(slots=True, repr=False)
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

    def __repr__(self) -> str:
        return f"<Config: {len(self.settings)} settings, {len(self.extensions)} extensions, variables {list(self.variables)}>"

    def to_frame(self) -> pd.DataFrame:
        """Convert to a pandas frame with a row for each setting and variable: name, value, and where it was set.

        Raises:
            LogError: pandas is not installed.
        """
        rows = [(name, setting.value, setting.where) for name, setting in self.settings.items()]
        rows += [(key, self.variables[key], self.variable_origins.get(key, "")) for key in self.variables]
        made: pd.DataFrame = require("pandas", "reports").DataFrame(rows, columns=["name", "value", "where"])
        return made

    def parameters(self) -> dict[str, Any]:
        """All settings: name → raw value."""
        return {name: setting.value for name, setting in self.settings.items()}

    def assigned(self) -> Iterator[tuple[str, str]]:
        """Each name that is set, and its place: the settings, then the variables, then the extensions."""
        yield from ((name, setting.where) for name, setting in self.settings.items())
        for key, where in self.variable_origins.items():
            yield from ((name, where) for name in split_names(key))
        for extension in self.extensions:
            yield from ((name, extension.where) for name, _ in extension.assigned())

    def is_shipped(self, name: str) -> bool:
        """Whether a parameter has the default value of its declaration."""
        return name in self.settings and self._is_declared_at(name, self.settings[name].where)

    def _is_declared_at(self, name: str, where: str) -> bool:
        return name in self.declarations and self.declarations[name].where == where

    def varied_names(self) -> set[str]:
        """The parameters that variables set."""
        return {name for key in self.variables for name in split_names(key)}

    def given_names(self) -> set[str]:
        """Parameters that the user sets, or varies, in all experiments."""
        return {name for name in self.settings if not self.is_shipped(name)} | self.varied_names()

    def known_names(self) -> set[str]:
        """All names that this configuration defines."""
        return {*self.declarations, *(name for name, _ in self.assigned())}

    def varying_names(self) -> set[str]:
        """Parameters whose raw values may differ between the experiments of the plan."""
        extended = {name for extension in self.extensions for name, _ in extension.assigned()}
        return self.varied_names() | extended | {"exp.repeat"}

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

    def origin(self, name: str) -> str:
        """The place where a parameter's value was set, unless an extension sets it."""
        for key, where in self.variable_origins.items():
            if name in split_names(key):
                return where
        return self.settings[name].where if name in self.settings else ""

    def set_parameter(self, name: str, value: Any, where: str) -> None:
        """Set a parameter.

        Raises:
            ConfigError: The name is malformed, or the value has the wrong type or is not allowed.
        """
        check_name(name, where)
        declared = self.declarations.get(name)
        if declared is not None and declared.type in SCALARS and (listed := _listed(value)):
            vary = "move it from parameters to variables" if ":" in where else f"write '-V{name}={listed}'"
            raise ConfigError(f"{name} is one value, not a list", where=where, hint=f"to vary it, {vary}")
        self.check_value(name, value, where)
        self.settings[name] = Setting(value, where)

    def replace_variables(self, name: str, where: str) -> None:
        """Make `-P` and later files take precedence: a parameter that they set does not vary, even if an earlier file has a variable for it."""
        for key in [key for key in self.variables if name in split_names(key)]:
            origin = self.variable_origins.pop(key)
            log("info", "%s replaces the values that %s gives to %s", where, origin, name)
            self.fixed.add(name)
            names, rows = split_names(key), self.variables.pop(key)
            if len(names) > 1:
                place = names.index(name)
                columns = [[*row[:place], *row[place + 1 :]] for row in rows]
                rest = columns if len(names) > 2 else [row[0] for row in columns]
                other = ",".join(names[:place] + names[place + 1 :])
                # Rows that differed only in this parameter are duplicates now.
                self.variables[other] = list({json.dumps(row): row for row in rest}.values())
                self.variable_origins[other] = origin

    def set_variable(self, given: str, values: Any, where: str) -> None:
        """Vary a parameter, or several together.

        Args:
            given: Its name, or names joined by commas.
            values: Its values; for several names, each is a list of theirs.
            where: The place, for errors.

        Raises:
            ConfigError: A name is malformed or set twice, there is no value, or one has the wrong type or is not allowed.
        """
        names = split_names(given)
        key = ",".join(names)
        if isinstance(values, str) and "," in values and len(names) == 1 and not is_template(values):
            values = self._separated(key, values, where)
        if isinstance(values, str) and re.match(r"\$\(\s*(\[|(list|range|sorted)\()", values):
            hint = f"list the values: 1,2,4; '[\"{values}\"]' is one value"
            raise ConfigError(f"an expression gives one value of {key}, even if it is a list", where=where, hint=hint)
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
                self.check_value(key, value, where)
                continue
            if not isinstance(value, list) or len(value) != len(names):
                raise ConfigError(
                    f"each value of {key!r} must be a list of {len(names)}, not {json.dumps(value)[:80]}", where=where
                )
            for name, item in zip(names, value, strict=True):
                self.check_value(name, item, where)
        for name in names:
            if where.startswith("-V") and name in self.from_command_line:
                raise ConfigError(f"-P{name} sets the same parameter", where=where, hint="remove one of them")
        for other in [other for other in self.variables if other != key and set(split_names(other)) & set(names)]:
            # The command line replaces a file's values of the same parameters.
            if where.startswith("-V") and not self.variable_origins[other].startswith("-V"):
                del self.variables[other], self.variable_origins[other]
            else:
                raise ConfigError(f"variables {other!r} and {key!r} set the same parameter", where=where)
        self.variables[key] = values
        self.variable_origins[key] = where

    def _separated(self, key: str, values: str, where: str) -> list[Any]:
        """The values of `a,b,c`, without brackets; an error if it may be one value, as `0,1` for exp.gpus."""
        parameter = self.declarations.get(key)
        words = [word.strip() for word in values.split(",")]
        is_one = parameter is not None and (
            compiled(parameter.regexp).fullmatch(values) if parameter.regexp else parameter.type not in SCALARS
        )
        if not all(words):
            raise ConfigError(f"{values!r} has an empty value", where=where, hint="remove a comma")
        if is_one:
            left = f"-V{key}=" if where.startswith("-V") else f"{key}: "
            hint = f"write '{left}[{values}]' for several values, or '{left}[\"{values}\"]' for one"
            raise ConfigError(f"{values!r} may be one value or several", where=where, hint=hint)
        return list(map(parse_value, words))

    def check_value(self, name: str, value: Any, where: str) -> None:
        """Raise a ConfigError if a value is malformed or not allowed; references are checked when they are resolved."""
        try:
            parameter = self.declarations.get(name)
            if is_template(value):
                template = parse(value)
                if not template.is_literal:
                    return
                value = template.literal
            if parameter is not None:
                parameter.check(value)
            if name == "exp.data" and parameter is not None and value != parameter.default:
                from dlbs.config.names import value_hint

                if value_hint(name, value):  # declared, but without effect
                    raise ConfigError(f"{name} cannot be set", where=where)
        except DlbsError as error:
            from dlbs.config.names import expression_hint, value_hint, word_hint

            hint = value_hint(name, value) or expression_hint(value) or word_hint(name, value) or error.hint
            if where.startswith("-V") and re.fullmatch(r"\d+ *([-:]|\.\.+) *\d+|range\(.*", str(value)):
                hint = f"list the values: -V{name}=1,2,4"
            raise ConfigError(error.what, where=where, hint=hint) from None

    def check_names(self, names: Iterable[str], where: str) -> None:
        """Raise a ConfigError if a name is malformed, or unknown in one of DLBS's namespaces."""
        for name in names:
            check_name(name, where)
            namespace = name.partition(".")[0]
            if name in self.declarations or name.startswith(OPEN) or namespace not in self.namespaces:
                continue
            from dlbs.config.names import former_hint, name_hint, our_word

            own = f"to add your own parameter, declare it with a 'desc', or name it outside {namespace}.*"
            hint = name_hint(name, self.declarations)
            if hint and not former_hint(name) and not our_word(name, self.declarations):  # they may differ much
                hint += (
                    f" To add your own parameter, name it outside {namespace}.*, or declare it with a 'desc' in a file"
                )
            raise ConfigError(f"unknown parameter {name!r}", where=where, hint=hint or own)

    def check_all_names(self, problems: Problems) -> None:
        """Find all malformed or unknown names that the user sets."""
        for name, where in self.assigned():
            if self._is_declared_at(name, where):
                continue
            with problems:
                self.check_names([name], where)
                if name in _ACCEPTED:
                    from dlbs.config.names import former_hint

                    log("warning", "%s: %s", where, former_hint(name))
                if name == "exp.repeat":
                    raise ConfigError(
                        "exp.repeat is set by the plan builder",
                        where=where,
                        hint="exp.repeats=5 makes five runs of each experiment",
                    )


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


def split_names(key: str) -> list[str]:
    """The parameters that one variable sets: `"exp.model,exp.replica_batch"` sets two together."""
    return [name.strip() for name in key.split(",")]


def assignments(flag: str, given: Assignments, problems: Problems) -> Iterator[tuple[str, Any]]:
    """Names and values of `-P` or `-V`, as mapping or strings; a string that is not name=value is a problem."""
    if isinstance(given, Mapping):
        yield from given.items()
        return
    for one in given:
        with problems:
            yield _assignment(flag, one)


def _assignment(flag: str, given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{given!r} is not name=value", where=flag, hint=f"write {flag}exp.model=alexnet")
    if name != name.strip():  # name = value
        name, value = name.strip(), value.strip()
    if re.match("\\[?[“”‘’]", value):
        raise ConfigError(f"{value!r} has typographic quotes", where=f"{flag}{name}", hint="write \" or '")
    parsed = parse_value(value, words=flag == "-V")
    if (
        flag == "-V"
        and value.startswith("[")
        and len(parsed) == 1
        and (words := str(parsed[0]).split())[1:]
        and '"' not in value
    ):
        hint = f"write -V{name}={','.join(words)}"
        raise ConfigError(f"{value!r} has no commas between values", where=f"-V{name}", hint=hint)
    return name, parsed


def _listed(value: Any) -> str:
    """The values of a list, or of a text in brackets, separated by commas; empty for other values."""
    if isinstance(value, str) and re.fullmatch(r"\[[^\[\]{}\"]*,[^\[\]{}\"]*\]", value.strip()):
        return value.strip()[1:-1].replace(" ", "")
    return ",".join(map(text, value)) if isinstance(value, list) else ""


def parse_value(given: str, *, words: bool = False) -> Any:
    """Parse JSON, or return the text if it is not JSON; with `words`, `[a,b c,1]` is a list of bare words and JSON values."""
    try:
        return load_json(given)
    except JsonError:
        stripped = given.strip()
    if words and stripped.startswith("[") and stripped.endswith("]"):
        return [parse_value(word.strip()) for word in stripped[1:-1].split(",")] if stripped[1:-1].strip() else []
    return given
