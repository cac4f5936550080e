"""Rewrite configurations and plans of the original DLBS: exact equivalents are replaced, the rest is reported.

Nothing is guessed: settings without an equivalent, or with one that depends on the author's intention, are kept and reported.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.config.load import load_config
from dlbs.config.names import Former, expression_hint, former, table
from dlbs.core.errors import ConfigError, DlbsError
from dlbs.core.files import JsonError, dlbs_root, load_json, read_regular, write_atomically, write_bytes
from dlbs.core.text import text
from dlbs.language.patterns import compiled
from dlbs.language.template import is_template, parse
from dlbs.plan.build import build

_LARGEST = 256 << 20  # bytes of a configuration or a plan


@dataclass(frozen=True, slots=True)
class Note:
    """A note about a document.

    Attributes:
        where: The path of keys, `parameters.exp.proj`.
        what: The change, or the remaining task.
        left: Whether it is left to the user.
        times: The number of experiments of a plan that it applies to.
    """

    where: str
    what: str
    left: bool = False
    times: int = 1


@dataclass(slots=True)
class Migration:
    """A document during its rewriting.

    Attributes:
        document: The rewritten document.
        notes: Changes, and remaining tasks.
    """

    document: Any = None
    notes: list[Note] = field(default_factory=list)

    def changed(self, where: str, what: str) -> None:
        self.notes.append(Note(where, what))

    def left(self, where: str, what: str) -> None:
        self.notes.append(Note(where, what, left=True))


def migrate_file(file: str, output: str | None, *, dry_run: bool = False) -> Migration:
    """Rewrite a file of the original, and keep the original as FILE.orig, or write the new one to `output`.

    Args:
        file: A configuration or a plan.
        output: The file to write instead of replacing `file`.
        dry_run: Write nothing.

    Raises:
        ConfigError: The file is missing, malformed, or cannot be written; FILE.orig exists.
    """
    try:
        original = read_regular(file, _LARGEST, follow_links=True)
        migration = migrate(original.decode("utf-8-sig"), file)
    except FileNotFoundError:
        raise ConfigError("no such file", where=file, hint="check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot be read: {error}", where=file) from None
    if dry_run or not (migration.notes or output is not None):
        return migration
    if output is None:
        kept = Path(f"{file}.orig")
        if kept.exists():
            raise ConfigError("already exists", where=str(kept), hint="remove it, or give --output")
        write_bytes(kept, original)
    with write_atomically(output or file) as stream:
        json.dump(migration.document, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
    if isinstance(migration.document, dict):
        try:
            load_config([output or file])
        except DlbsError as error:
            migration.left("", f"it cannot be loaded yet: {error}")
    return migration


def migrate(source: str, where: str) -> Migration:
    """Rewrite the text of a configuration or a plan of the original.

    Args:
        source: JSON, possibly with comments.
        where: The file, for errors.

    Raises:
        ConfigError: The text is not JSON, or neither a configuration nor a plan.
    """
    migration = Migration()
    data = _without_comment_keys(_load(source, where, migration), "", migration)
    if isinstance(data, list) and all(isinstance(one, dict) for one in data):
        migration.document = _plan(data, migration)
    elif isinstance(data, dict) and set(data) <= {"parameters", "variables", "extensions"}:
        _check_sections(data, where)
        migration.document = _Configuration(data, migration).migrated()
    else:
        raise ConfigError(
            "is neither a configuration nor a plan of the original DLBS",
            where=where,
            hint="a configuration has parameters, variables and extensions; a plan is a list of experiments",
        )
    return migration


def summary(migration: Migration, name: str) -> dict[str, Any]:
    """Document of `dlbs migrate --json` about a file: the changes, and what is left to the user."""
    made: dict[str, Any] = {"file": name, "changed": [], "left": []}
    for note in migration.notes:
        made["left" if note.left else "changed"].append(
            {"where": note.where, "what": note.what, "experiments": note.times}
        )
    return made


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The text of a summary."""
    for key, title in (("changed", "changed"), ("left", "left to you")):
        notes = list({tuple(note.values()): None for note in summary[key]})
        yield f"{summary['file']}: {len(notes)} {title}" + (":" if notes else "")
        for where, what, experiments in notes:
            times = f" ({experiments} experiments)" if experiments > 1 else ""
            yield f"  {where}{': ' if where else ''}{what}{times}"


def _path_of(*keys: str) -> str:
    """Join keys, ignoring empty ones."""
    return ".".join(filter(None, keys))


class _Names:
    """Rewriter of parameters by the table of names.

    Args:
        frameworks: The frameworks that the document runs; empty if unknown.
    """

    def __init__(self, frameworks: set[str], migration: Migration) -> None:
        self.frameworks, self.migration = frameworks, migration

    def row(self, name: str) -> Former | None:
        """The table's row of a name, if it applies to this document."""
        row = former(name)
        if row is None or self.frameworks <= {"pytorch", "train"}:
            return row
        if row.new.startswith("pytorch."):
            return Former(row.name, why=row.why)
        return replace(
            row, values={value: None if _is_for_pytorch(meant) else meant for value, meant in row.values.items()}
        )

    def parameter(self, name: str, value: Any, where: str) -> dict[str, Any]:
        """The replacements of a parameter."""
        row, place = self.row(name), _path_of(where, name)
        if row is None or row.own:
            return {name: self.value(value, place)}
        if row.has(value):
            meant = row.meaning(value)
            if meant is None:
                self.migration.left(place, f"{text(value)} has no equivalent: {row.why}")
                return {name: value}
            settings = ", ".join(f"{new}={text(becomes)!r}" for new, becomes in meant.items())
            self.migration.changed(place, f"{text(value)!r} is {settings or 'removed'}" + _reason(row, bool(settings)))
            return dict(meant)
        if row.words and isinstance(value, str) and not is_template(value):
            return {name: self._words(row, value, place)}
        if row.omit:
            self.migration.changed(place, f"removed: {row.why}")
            return {}
        if row.new:
            self.migration.changed(place, f"is {row.new}")
            return {row.new: self.value(value, place)}
        if _is_known(name):
            return {name: self.value(value, place)}
        self.migration.left(place, row.hint)
        return {name: value}

    def _words(self, row: Former, value: str, place: str) -> str:
        words = [word for word in re.split(r"[,\s]+", value) if word]
        new = list(dict.fromkeys(becomes for word in words if (becomes := row.words.get(word, word))))
        for word in words:
            if row.words.get(word, word) is None:
                self.migration.left(place, f"{word} was removed: {row.why}")
        if ",".join(new) == ",".join(words):
            return value
        self.migration.changed(place, f"{value!r} is {','.join(new)!r}")
        return ",".join(new)

    def value(self, value: Any, place: str) -> Any:
        """Rewrite the references and expressions of a value."""
        if isinstance(value, list):
            kept = [item for item in value if not self._is_omitted_reference(item, place)]
            return [self.value(item, place) for item in kept]
        if isinstance(value, dict):
            return {key: self.value(item, place) for key, item in value.items()}
        if not isinstance(value, str) or "$" not in value:
            return value
        new = _REFERENCE.sub(lambda found: self._reference(found, place), value)
        if "$(" in new:
            new = _EXPRESSION.sub(lambda found: self._expression(found[0]), new)
        if new != value:
            self.migration.changed(place, f"{value!r} is {new!r}")
        self._check(new, place)
        return new

    def _is_omitted_reference(self, item: Any, place: str) -> bool:
        found = _REFERENCE.fullmatch(item) if isinstance(item, str) else None
        row = self.row(found["name"]) if found else None
        if found is None or row is None or not row.omit:
            return False
        self.migration.changed(place, f"{item!r} removed: {row.why}")
        return True

    def _reference(self, found: re.Match[str], place: str) -> str:
        name, group = found["name"], ""
        if found["condition"]:  # ${__condition.NAME_1} is a group of the match of the condition on NAME
            name, _, group = name.rpartition("_")
        row = self.row(name)
        new = "" if row is None else row.reference or ("" if row.values else row.new)
        if row is not None and not new and not row.own and not _is_known(row.name):
            self.migration.left(place, f"refers to {name}: {row.hint}")
        return f"${{{found['condition'] or ''}{new or name}{group and '_'}{group}}}"

    def _expression(self, expression: str) -> str:
        if not expression.endswith(")$"):
            return expression
        for row in table().expressions:
            if row.becomes is not None:
                expression = re.sub(row.pattern, row.becomes, expression)
        return expression

    def _check(self, value: str, place: str) -> None:
        try:
            parse(value)
        except DlbsError as error:
            hint = expression_hint(value) or error.hint
            self.migration.left(place, error.what + (f": {hint}" if hint else ""))
            return
        for row in table().expressions:
            if row.differs and re.search(row.pattern, value):
                self.migration.left(place, row.say)


def _is_for_pytorch(settings: Mapping[str, Any] | None) -> bool:
    """Whether a row's replacement is a parameter that experiments of other frameworks lack."""
    return any(name.startswith("pytorch.") for name in settings or ())


_REFERENCE = re.compile(r"\$\{(?P<condition>__condition\.)?(?P<name>[^${}()]+)\}")
_EXPRESSION = re.compile(
    r"\$\(.*?(?:\)\$|\Z)", re.DOTALL
)  # unclosed references match to the end, so that a thousand openings cost one search


def _reason(row: Former, is_set: bool) -> str:
    return f": {row.why}" if row.why and not is_set else ""


@lru_cache(maxsize=1)
def _known_names() -> frozenset[str]:
    """The declared parameters."""
    return frozenset(load_config().declarations)


def _is_known(name: str) -> bool:
    """Whether a parameter is declared."""
    return name in _known_names() or name.startswith(("runtime.env.", "slurm."))


_NO_LAUNCHER = "{0} is not included in DLBS: write a launcher for it and set {0}.launcher"


class _Configuration:
    """Rewriter of `{"parameters": ..., "variables": ..., "extensions": ...}`."""

    def __init__(self, data: dict[str, Any], migration: Migration) -> None:
        self.data, self.migration = data, migration
        self.names = _Names(set(map(text, _values(data, "exp.framework"))), migration)

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
            if not _has_launcher(framework, self.data.get("parameters") or {}):
                self.migration.left("exp.framework", _NO_LAUNCHER.format(framework))
        return new

    def _parameters(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, value in (given or {}).items():
            place = _path_of(where, name)
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
                    _path_of("variables", name),
                    f"its values become {', '.join(keys)}, or are removed: write extensions",
                )
                new[name] = values
        return new

    def _extension(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        new = dict(given)
        if given.get("condition"):
            new["condition"] = self._condition(given["condition"], _path_of(where, "condition"))
        if given.get("parameters"):
            new["parameters"] = self._parameters(given["parameters"], _path_of(where, "parameters"))
        if given.get("cases"):
            new["cases"] = [
                self._parameters(case, f"{where}.cases[{index}]") for index, case in enumerate(given["cases"])
            ]
        return new

    def _condition(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, wanted in given.items():
            place = _path_of(where, name)
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
            if name not in _known_names() and not _values(self.data, name):
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
            value for value in map(text, _values(self.data, name)) if fits.match(value) and not fits.fullmatch(value)
        ]
        if beyond:
            self.migration.left(
                place,
                f"{pattern!r} also matched {', '.join(beyond)}, but must now match the whole value: write '(?:{pattern}).*' if that was intended",
            )

    def _declare(self, new: dict[str, Any]) -> None:
        """Declare the document's own parameters in shipped namespaces, where only declared names are allowed."""
        parameters = new.get("parameters", {})
        for name in filter(_is_own, dict.fromkeys(name for name, _ in _assigned(new))):
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
                _path_of("parameters", name),
                "declared, because its namespace allows only declared names: describe it in desc",
            )


def _assigned(data: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Each name that a configuration sets, with its values."""
    extensions = data.get("extensions") or []
    sets = [data.get("parameters"), *(one.get("parameters") for one in extensions)]
    for parameters in (*sets, *(case for one in extensions for case in one.get("cases") or [])):
        for name, value in (parameters or {}).items():
            yield name, [value["val"] if isinstance(value, dict) and "val" in value else value]
    for name, values in (data.get("variables") or {}).items():
        yield name, values if isinstance(values, list) else [values]


def _values(data: Mapping[str, Any], name: str) -> list[Any]:
    return [value for one, values in _assigned(data) if one == name for value in values]


def _has_launcher(framework: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a framework is included in DLBS, or the document sets a launcher for it that is not one of the original's."""
    if is_template(framework) or os.path.isfile(dlbs_root() / "scripts" / "launchers" / f"{framework}.sh"):
        return True
    launcher = text(parameters.get(f"{framework}.launcher"))
    return bool(launcher) and not launcher.startswith("${DLBS_ROOT}/")


def _is_own(name: str) -> bool:
    """Whether a document's own parameter is in a shipped namespace, where only declared names are allowed."""
    row = former(name)
    roots = {known.partition(".")[0] for known in _known_names() if "." in known}
    return name.partition(".")[0] in roots and not _is_known(name) and (row is None or row.own)


def _check_sections(data: Mapping[str, Any], where: str) -> None:
    extensions = data.get("extensions") or []
    if not isinstance(extensions, list) or not all(isinstance(one, dict) for one in extensions):
        raise ConfigError("extensions must be a list of mappings", where=where)
    mappings = [(key, data.get(key)) for key in ("parameters", "variables")]
    for one in extensions:
        mappings += [(f"{key} of an extension", one.get(key)) for key in ("condition", "parameters")]
        cases = one.get("cases") or []
        if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
            raise ConfigError("cases of an extension must be a list of mappings", where=where)
    for name, value in mappings:
        if value is not None and value != [] and not isinstance(value, dict):
            raise ConfigError(f"{name} must be a mapping", where=where)


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
    migration.changed("", "comments removed, because JSON has none")
    return data


# Matches strings too, so that comments inside them are ignored, and unclosed comments, so that a thousand openings do not cost a thousand
# searches to the end.
_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|/\*.*?(?:\*/|\Z)|#[^\n]*', re.DOTALL)


def _without_comment_keys(data: Any, where: str, migration: Migration) -> Any:
    if isinstance(data, list):
        return [_without_comment_keys(item, where, migration) for item in data]
    if not isinstance(data, dict):
        return data
    kept = {}
    for key, value in data.items():
        if key.startswith(("//", "#")) or key.strip("_") == "comment":
            migration.changed(_path_of(where, key), "comment removed")
        else:
            kept[key] = _without_comment_keys(value, _path_of(where, key), migration)
    return kept


_PARTS = ("args", "docker_args", "env", "launcher", "bench_path")
_MADE_HERE = "removed: DLBS computes it from other parameters; if you changed it, set it again"


def _plan(experiments: list[dict[str, Any]], migration: Migration) -> list[dict[str, Any]]:
    """Add the parameters that the original did not have to experiments, with their shipped values."""
    new = []
    told: dict[Note, int] = {}
    for experiment in experiments:
        one = Migration()
        framework = text(experiment.get("exp.framework"))
        names = _Names({framework}, one)
        if not _has_launcher(framework, {} if framework == "" else experiment):
            one.left("exp.framework", _NO_LAUNCHER.format(framework))
        migrated: dict[str, Any] = {}
        for name, value in experiment.items():
            if _is_launchers_own(name, framework):
                one.changed(name, _MADE_HERE)
            elif _is_own(name) and value in ("", None) and f"${{{name}}}" not in json.dumps(experiment):
                one.changed(name, "removed: it was empty")
            else:
                migrated.update(names.parameter(name, value, ""))
        for name in filter(_is_own, migrated):
            one.left(name, "declare it in a file of --plan: its namespace allows only declared names")
        new.append({**_base(framework), **migrated})
        for note in one.notes:
            told[note] = told.get(note, 0) + 1
    migration.notes += [Note(note.where, note.what, note.left, times) for note, times in told.items()]
    return new


def _is_launchers_own(name: str, framework: str) -> bool:
    """Whether the original's configuration computed a parameter for its own launchers."""
    if name == "exp.docker_launcher":
        return True
    return _is_known(name) and name in {f"{framework}.{part}" for part in _PARTS}


@lru_cache(maxsize=64)
def _base(framework: str) -> Mapping[str, Any]:
    """The shipped parameters of an experiment of a framework."""
    experiments: Iterator[dict[str, Any]] = build(load_config(parameters=[f"exp.framework={json.dumps(framework)}"]))
    return next(experiments)
