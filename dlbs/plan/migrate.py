"""Rewrite configurations and plans of the original DLBS: exact equivalents are replaced, the rest is reported.

Nothing is guessed: settings without an equivalent, or with one that depends on the author's intention, are kept and reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.config.load import load_config
from dlbs.errors import ConfigError
from dlbs.jsonio import JsonError, load_json
from dlbs.plan.build import build
from dlbs.plan.former_configuration import NO_LAUNCHER, Configuration, has_launcher, is_own
from dlbs.plan.former_names import Migration, Names, Note, is_known, path_of
from dlbs.text import text

__all__ = ["migrate", "summary"]


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
        migration.document = Configuration(data, migration).migrated()
    else:
        raise ConfigError(
            "is neither a configuration nor a plan of the original DLBS",
            where=where,
            hint="a configuration has parameters, variables and extensions; a plan is a list of experiments",
        )
    return migration


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
            migration.changed(path_of(where, key), "comment removed")
        else:
            kept[key] = _without_comment_keys(value, path_of(where, key), migration)
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
        names = Names({framework}, one)
        if not has_launcher(framework, {} if framework == "" else experiment):
            one.left("exp.framework", NO_LAUNCHER.format(framework))
        migrated: dict[str, Any] = {}
        for name, value in experiment.items():
            if _is_launchers_own(name, framework):
                one.changed(name, _MADE_HERE)
            elif is_own(name) and value in ("", None) and f"${{{name}}}" not in json.dumps(experiment):
                one.changed(name, "removed: it was empty")
            else:
                migrated.update(names.parameter(name, value, ""))
        for name in filter(is_own, migrated):
            one.left(name, "declare it in a --config file: its namespace allows only declared names")
        new.append({**_base(framework), **migrated})
        for note in one.notes:
            told[note] = told.get(note, 0) + 1
    migration.notes += [Note(note.where, note.what, note.left, times) for note, times in told.items()]
    return new


def _is_launchers_own(name: str, framework: str) -> bool:
    """Whether the original's configuration computed a parameter for its own launchers."""
    if name == "exp.docker_launcher":
        return True
    return is_known(name) and name in {f"{framework}.{part}" for part in _PARTS}


@lru_cache(maxsize=64)
def _base(framework: str) -> Mapping[str, Any]:
    """The shipped parameters of an experiment of a framework."""
    experiments: Iterator[dict[str, Any]] = build(load_config(parameters=[f"exp.framework={json.dumps(framework)}"]))
    return next(experiments)


def summary(migration: Migration, name: str | Path) -> Iterator[str]:
    """Lines that list the changes and the remaining tasks."""
    for left, title in ((False, "changed"), (True, "left to you")):
        notes = list(dict.fromkeys(note for note in migration.notes if note.left == left))
        yield f"{name}: {len(notes)} {title}" + (":" if notes else "")
        for note in notes:
            times = f" ({note.times} experiments)" if note.times > 1 else ""
            yield f"  {note.where}{': ' if note.where else ''}{note.what}{times}"
