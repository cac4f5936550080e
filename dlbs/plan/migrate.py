"""Rewrite configurations and plans of the original DLBS: what means exactly the same is written anew, the rest is reported.

Nothing is guessed: what has no equivalent, or one that depends on what the author wanted, stays as it was and is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.config.load import load_config
from dlbs.config.migration import former
from dlbs.errors import ConfigError, DlbsError
from dlbs.jsonio import JsonError, load_json
from dlbs.language.patterns import compiled
from dlbs.plan.build import build
from dlbs.plan.former_names import Migration, Names, Note, is_known, known_names, path_of
from dlbs.text import text

__all__ = ["migrate", "summary"]


def migrate(source: str, where: str) -> Migration:
    """Rewrite the text of a configuration or a plan of the original.

    Args:
        source: JSON, with comments if it has some.
        where: The file, for errors.

    Raises:
        ConfigError: It is not JSON, or neither a configuration nor a plan.
    """
    migration = Migration()
    data = _without_comment_keys(_load(source, where, migration), "", migration)
    if isinstance(data, list) and all(isinstance(one, dict) for one in data):
        migration.document = _plan(data, migration)
    elif isinstance(data, dict) and set(data) <= {"parameters", "variables", "extensions"}:
        migration.document = _Configuration(data, migration).migrated()
    else:
        raise ConfigError(
            "is neither a configuration nor a plan of the original DLBS",
            where=where,
            hint="a configuration has parameters, variables and extensions; a plan is a list of experiments",
        )
    return migration


def _load(source: str, where: str, migration: Migration) -> Any:
    try:
        return load_json(source)
    except JsonError as error:
        bare = _COMMENT.sub(lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0]), source)
        if bare == source:
            raise ConfigError(f"not JSON: {error.what}", where=f"{where}:{error.line}") from None
    try:
        data = load_json(bare)
    except JsonError as error:
        raise ConfigError(f"not JSON: {error.what}", where=f"{where}:{error.line}") from None
    migration.changed("", "comments left out: JSON has none")
    return data


# A string is found too, so that what looks like a comment inside one is none.
_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|#[^\n]*', re.DOTALL)


def _without_comment_keys(data: Any, where: str, migration: Migration) -> Any:
    if isinstance(data, list):
        return [_without_comment_keys(item, where, migration) for item in data]
    if not isinstance(data, dict):
        return data
    kept = {}
    for key, value in data.items():
        if key.startswith(("//", "#")) or key.strip("_") == "comment":
            migration.changed(path_of(where, key), "comment left out")
        else:
            kept[key] = _without_comment_keys(value, path_of(where, key), migration)
    return kept


class _Configuration:
    """Rewrites `{"parameters": ..., "variables": ..., "extensions": ...}`."""

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
                    becomes = {}  # what is declared here already, and not set
            for one in becomes:
                if one in new and new[one] != becomes[one]:
                    self.migration.left(place, f"{one} is set twice; the last one holds")
            new.update(becomes)
        return new

    def _declaration(self, given: Mapping[str, Any], place: str) -> dict[str, Any]:
        new = {("val_regexp" if key == "val_regex" else key): value for key, value in given.items()}
        if "val_regex" in given:
            self.migration.changed(place, "val_regex is val_regexp, which the whole value must match")
        if isinstance(new.get("desc"), list):
            new["desc"] = " ".join(str(line).strip() for line in new["desc"])
            self.migration.changed(place, "the lines of desc are one text")
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
                    path_of("variables", name), f"its values become {', '.join(keys)}, or nothing: write extensions"
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
                    place, f"nothing sets {name}; the original took such a condition as met, here it is an error"
                )
        return new

    def _whole_match(self, name: str, pattern: str, place: str) -> None:
        """Report values that a pattern fits in the original, which looks at their beginning, and not here, where it must fit the whole."""
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
                f"{pattern!r} met {', '.join(beyond)} too, and must fit the whole value here: write '(?:{pattern}).*' if that was meant",
            )

    def _declare(self, new: dict[str, Any]) -> None:
        """Declare what the document itself has put into a shipped namespace, where only declared names exist."""
        parameters = new.get("parameters", {})
        for name in filter(_is_own, _names(new)):
            given = parameters.get(name)
            if isinstance(given, dict) and "desc" in given:
                continue
            declaration = dict(given) if isinstance(given, dict) and {"val", "type"} & set(given) else {}
            if not declaration and name in parameters:
                declaration["val"] = given
            new["parameters"] = parameters = {
                **parameters,
                name: {**declaration, "desc": "A parameter of this configuration's own."},
            }
            self.migration.changed(
                path_of("parameters", name),
                "declared, since its namespace has declared names only: describe it in desc",
            )


def _all_values(data: Mapping[str, Any], name: str) -> list[Any]:
    """Constants that a name is set to anywhere in a configuration."""
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


_PARTS = ("args", "docker_args", "env", "launcher", "bench_path")

_MADE_HERE = "left out: DLBS makes it of the other parameters; if you had changed it, set it again"


def _plan(experiments: list[dict[str, Any]], migration: Migration) -> list[dict[str, Any]]:
    """Experiments with the parameters that they need here: those that the original did not have are as shipped."""
    new = []
    told: dict[Note, int] = {}
    for experiment in experiments:
        one = Migration()
        framework = text(experiment.get("exp.framework"))
        names = Names({framework}, one)
        migrated: dict[str, Any] = {}
        for name, value in experiment.items():
            if _is_launchers_own(name, framework):
                one.changed(name, _MADE_HERE)
            elif _is_own(name) and value in ("", None) and f"${{{name}}}" not in json.dumps(experiment):
                one.changed(name, "left out: it was empty")
            else:
                migrated.update(names.parameter(name, value, ""))
        for name in filter(_is_own, migrated):
            one.left(name, "declare it in a file that you give with --config: its namespace has declared names only")
        new.append({**_base(framework), **migrated})
        for note in one.notes:
            told[note] = told.get(note, 0) + 1
    migration.notes += [Note(note.where, note.what, note.left, times) for note, times in told.items()]
    return new


def _is_own(name: str) -> bool:
    """Whether a document's own parameter has a name in a shipped namespace, where only declared names exist."""
    row = former(name)
    roots = {known.partition(".")[0] for known in known_names() if "." in known}
    return name.partition(".")[0] in roots and not is_known(name) and (row is None or row.own)


def _is_launchers_own(name: str, framework: str) -> bool:
    """Whether a parameter is one of those that the original's configuration made for its own launchers."""
    if name == "exp.docker_launcher":
        return True
    return is_known(name) and name in {f"{framework}.{part}" for part in _PARTS}


@lru_cache(maxsize=64)
def _base(framework: str) -> Mapping[str, Any]:
    """The parameters of an experiment of a framework, as shipped."""
    experiments: Iterator[dict[str, Any]] = build(load_config(parameters=[f"exp.framework={json.dumps(framework)}"]))
    return next(experiments)


def summary(migration: Migration, name: str | Path) -> Iterator[str]:
    """Lines that say what was changed and what is left to do."""
    for left, title in ((False, "changed"), (True, "left to you")):
        notes = list(dict.fromkeys(note for note in migration.notes if note.left == left))
        yield f"{name}: {len(notes)} {title}" + (":" if notes else "")
        for note in notes:
            times = f" ({note.times} experiments)" if note.times > 1 else ""
            yield f"  {note.where}{': ' if note.where else ''}{note.what}{times}"
