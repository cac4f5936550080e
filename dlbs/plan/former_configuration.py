"""Rewrite a configuration of the original DLBS: its parameters, variables and extensions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dlbs.config.migration import former
from dlbs.errors import DlbsError
from dlbs.files import dlbs_root
from dlbs.language.patterns import compiled
from dlbs.language.template import is_template
from dlbs.plan.former_names import Migration, Names, is_known, known_names, path_of
from dlbs.text import text

__all__ = ["NO_LAUNCHER", "Configuration", "has_launcher", "is_own"]

NO_LAUNCHER = "{0} is not included in DLBS: write a launcher for it and set {0}.launcher"


class Configuration:
    """Rewriter of `{"parameters": ..., "variables": ..., "extensions": ...}`."""

    def __init__(self, data: dict[str, Any], migration: Migration) -> None:
        self.data, self.migration = data, migration
        self.names = Names(set(map(text, _all_values(data, "exp.framework"))), migration)

    def migrated(self) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for section in self.data:
            if section == "parameters":
                new[section] = self._parameters(self.data[section], section)
            elif section == "variables":
                new[section] = self._variables(self.data[section])
            else:
                new[section] = [
                    self._extension(one, f"{section}[{index}]") for index, one in enumerate(self.data[section] or [])
                ]
        self._declare(new)
        for framework in sorted(self.names.frameworks):
            if not has_launcher(framework, self.data.get("parameters") or {}):
                self.migration.left("exp.framework", NO_LAUNCHER.format(framework))
        return new

    def _parameters(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, value in (given or {}).items():
            place = path_of(where, name)
            if not isinstance(value, dict) or not {"val", "type", "desc"} & set(value):
                becomes = self.names.parameter(name, value, where)
            else:
                declaration = self._declaration(value, place)
                becomes = self.names.parameter(name, declaration.get("val"), where)
                if list(becomes) == [name]:
                    becomes = {name: {**declaration, **({"val": becomes[name]} if "val" in declaration else {})}}
                elif "val" not in declaration:
                    becomes = {}  # declared already, and not set
            for one in becomes:
                if one in new and new[one] != becomes[one]:
                    self.migration.left(place, f"{one} is set twice; the last value wins")
            new.update(becomes)
        return new

    def _declaration(self, given: Mapping[str, Any], place: str) -> dict[str, Any]:
        new = {("val_regexp" if key == "val_regex" else key): value for key, value in given.items()}
        if "val_regex" in given:
            self.migration.changed(place, "val_regex is now val_regexp, which the whole value must match")
        if isinstance(new.get("desc"), list):
            new["desc"] = " ".join(str(line).strip() for line in new["desc"])
            self.migration.changed(place, "the lines of desc are joined")
        return new

    def _variables(self, given: Mapping[str, Any]) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, values in (given or {}).items():
            becomes = [
                self.names.parameter(name, value, "variables")
                for value in (values if isinstance(values, list) else [values])
            ]
            keys = list(dict.fromkeys(key for one in becomes for key in one))
            if not keys:
                continue
            if len(keys) == 1 and all(list(one) == keys for one in becomes):
                new[keys[0]] = [one[keys[0]] for one in becomes]
            else:
                self.migration.left(
                    path_of("variables", name), f"its values become {', '.join(keys)}, or are removed: write extensions"
                )
                new[name] = values
        return new

    def _extension(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        new = dict(given)
        if given.get("condition"):
            new["condition"] = self._condition(given["condition"], path_of(where, "condition"))
        if given.get("parameters"):
            new["parameters"] = self._parameters(given["parameters"], path_of(where, "parameters"))
        if given.get("cases"):
            new["cases"] = [
                self._parameters(case, f"{where}.cases[{index}]") for index, case in enumerate(given["cases"])
            ]
        return new

    def _condition(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, wanted in given.items():
            place = path_of(where, name)
            if isinstance(wanted, str) and wanted:
                self._whole_match(name, wanted, place)
            alternatives = wanted if isinstance(wanted, list) else [wanted]
            becomes = [self.names.parameter(name, one, where) for one in alternatives]
            keys = {key for one in becomes for key in one}
            if len(keys) != 1 or not all(becomes):
                self.migration.left(
                    place, "has no equivalent in a condition: " + ((row.hint if (row := former(name)) else "") or name)
                )
                new[name] = wanted
                continue
            key = keys.pop()
            new[key] = [one[key] for one in becomes] if isinstance(wanted, list) else becomes[0][key]
            if name not in known_names() and not _all_values(self.data, name):
                self.migration.left(
                    place,
                    f"{name} is never set; in the original such a condition was met, now it is an error; "
                    f'if -P or -V sets it, declare it: "{name}": {{"val": "", "desc": "..."}}',
                )
        return new

    def _whole_match(self, name: str, pattern: str, place: str) -> None:
        """Report values that a pattern matched in the original, at their beginning, but not now, when it must match the whole value."""
        try:
            fits = compiled(pattern)
        except DlbsError as error:
            self.migration.left(place, f"{error.what}: {error.hint}")
            return
        beyond = [
            value
            for value in map(text, _all_values(self.data, name))
            if fits.match(value) and not fits.fullmatch(value)
        ]
        if beyond:
            self.migration.left(
                place,
                f"{pattern!r} also matched {', '.join(beyond)}, but must now match the whole value: write '(?:{pattern}).*' if that was intended",
            )

    def _declare(self, new: dict[str, Any]) -> None:
        """Declare the document's own parameters in shipped namespaces, where only declared names are allowed."""
        parameters = new.get("parameters", {})
        for name in filter(is_own, _names(new)):
            given = parameters.get(name)
            if isinstance(given, dict) and "desc" in given:
                continue
            declaration = dict(given) if isinstance(given, dict) and {"val", "type"} & set(given) else {}
            if not declaration and name in parameters:
                declaration["val"] = given
            new["parameters"] = parameters = {
                **parameters,
                name: {**declaration, "desc": "Defined by this configuration."},
            }
            self.migration.changed(
                path_of("parameters", name),
                "declared, because its namespace allows only declared names: describe it in desc",
            )


def _all_values(data: Mapping[str, Any], name: str) -> list[Any]:
    """All constant values of a name in a configuration."""
    extensions = data.get("extensions") or []
    sets = [data.get("parameters") or {}, *(one.get("parameters") or {} for one in extensions)]
    sets += [case for one in extensions for case in one.get("cases") or []]
    values = [one[name] for one in sets if name in one]
    values = [value["val"] if isinstance(value, dict) and "val" in value else value for value in values]
    varied = (data.get("variables") or {}).get(name, [])
    return [*values, *(varied if isinstance(varied, list) else [varied])]


def _names(data: Mapping[str, Any]) -> list[str]:
    """All names that a configuration sets."""
    names = [*data.get("parameters", {}), *data.get("variables", {})]
    for extension in data.get("extensions", []):
        for one in (extension.get("parameters") or {}, *(extension.get("cases") or [])):
            names += one
    return list(dict.fromkeys(names))


def has_launcher(framework: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a framework is included in DLBS, or the document sets a launcher for it that is not one of the original's."""
    if is_template(framework) or os.path.isfile(dlbs_root() / "scripts" / "launchers" / f"{framework}.sh"):
        return True
    launcher = text(parameters.get(f"{framework}.launcher"))
    return bool(launcher) and not launcher.startswith("${DLBS_ROOT}/")


def is_own(name: str) -> bool:
    """Whether a document's own parameter is in a shipped namespace, where only declared names are allowed."""
    row = former(name)
    roots = {known.partition(".")[0] for known in known_names() if "." in known}
    return name.partition(".")[0] in roots and not is_known(name) and (row is None or row.own)
