"""Load and merge configuration files and `-P/-V/-E` flags.

Precedence, low to high: the shipped files, each `--config` file in order, the flags. Extensions are applied later, by the
builder.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dlbs.config.config import Config, Extension, split_names
from dlbs.config.declare import add_options, check_frameworks, declare, file_frameworks
from dlbs.config.documents import Document, load, read
from dlbs.config.flags import Assignments, assignments, extension_data
from dlbs.config.names import check_all_names
from dlbs.config.parsed import parse_all
from dlbs.config.settings import check_value, replace_variables, set_parameter, set_variable
from dlbs.errors import ConfigError, Problems, suggestion
from dlbs.files import dlbs_root

__all__ = ["load_config", "shipped_files"]

_ROOT_KEYS = ("frameworks", "phases", "parameters", "variables", "extensions", "exclude")
_EXTENSION_KEYS = ("condition", "parameters", "cases")


def shipped_files(root: Path) -> list[Path]:
    """The configuration files that come with DLBS, base first."""
    directory = root / "config"
    files = sorted(directory.glob("*.yaml"), key=lambda path: (path.name != "base.yaml", path.name))
    if not files:
        raise ConfigError(
            f"no configuration in {directory}", hint="set DLBS_ROOT to the directory that has config/base.yaml"
        )
    return files


def load_config(
    files: Iterable[str | os.PathLike[str]] = (),
    *,
    parameters: Assignments = (),
    variables: Assignments = (),
    extensions: Iterable[str | Mapping[str, Any]] = (),
    discard_default: bool = False,
    root: Path | None = None,
    problems: Problems | None = None,
) -> Config:
    """Load and merge a configuration.

    Args:
        files: The `--config` files; later ones take precedence. Files that do not exist are searched among the shipped ones.
        parameters: Of `-P`: a mapping, or `name=value` strings.
        variables: Of `-V`: a mapping, or `name=[...]` strings.
        extensions: Of `-E`: mappings, or their JSON text.
        discard_default: Ignore the shipped values; the declarations are kept.
        root: The directory that contains `config/`; `dlbs_root()` by default.
        problems: Collects the errors, for a caller that continues and raises them later.

    Raises:
        ConfigError: Malformed input, unknown keys or names, wrong types; all errors together.
    """
    later = problems is not None
    problems = Problems() if problems is None else problems
    config = _shipped(tuple((str(path), read(path)) for path in shipped_files(root or dlbs_root()))).copy()
    if discard_default:
        config.settings.clear()
        config.extensions.clear()
    for file in files:
        with problems:
            _merge(config, load(_find(file, root or dlbs_root())), problems)
    with problems:
        check_frameworks(config)
    before = config.known_names()
    for name, value in assignments("-P", parameters, problems):
        with problems:
            set_parameter(config, name, value, f"-P{name}")
            replace_variables(config, name, f"-P{name}")
            config.from_command_line.add(name)
    for name, value in assignments("-V", variables, problems):
        with problems:
            set_variable(config, name, value, f"-V{name}")
    for flag in extensions:
        with problems:
            config.extensions.append(_extension(extension_data(flag), "-E"))
    with problems:
        add_options(config)
    for extension in config.extensions:
        for parameter_set in (extension.parameters, *extension.cases):
            for name, value in parameter_set.items():
                with problems:
                    check_value(config, name, value, extension.where)
    check_all_names(config, problems)
    if not later:
        problems.raise_all()
    config.typed = {name: where for name, where in _typed(config) if name not in before}
    return config


@functools.lru_cache(maxsize=4)
def _shipped(files: tuple[tuple[str, str], ...]) -> Config:
    """Merge the shipped files, each a name and a text; cached for processes that build several plans."""
    config, problems = Config(), Problems()
    for document in parse_all(files):
        _merge(config, document, problems)
    problems.raise_all()
    add_options(config)
    config.namespaces = frozenset(name.partition(".")[0] for name in config.declarations)
    return config


def _typed(config: Config) -> Iterator[tuple[str, str]]:
    """Names that the command line sets → the flag."""
    yield from ((name, f"-P{name}") for name in config.from_command_line)
    for key, where in config.variable_origins.items():
        if where.startswith("-V"):
            yield from ((name, where) for name in split_names(key))
    for extension in config.extensions:
        if extension.where == "-E":
            for parameters in (extension.parameters, *extension.cases):
                yield from ((name, "-E") for name in parameters)


def _find(file: str | os.PathLike[str], root: Path) -> Path:
    """The path of a file, or of the shipped one of that name, such as `recipes/resnet18.yaml`."""
    path, shipped = Path(file), root / "config" / file
    return shipped if not path.exists() and shipped.is_file() else path


def _merge(config: Config, document: Document, problems: Problems) -> None:
    data = document.data
    if data is None:
        return
    if not isinstance(data, dict):
        raise ConfigError(
            f"must contain a mapping with {', '.join(_ROOT_KEYS)}, not a {type(data).__name__}", where=document.path
        )
    for key in data:
        if key not in _ROOT_KEYS:
            raise ConfigError(f"unknown key {key!r}", where=document.where(key), hint=suggestion(str(key), _ROOT_KEYS))
    frameworks = file_frameworks(config, document)
    given = _section(document, "parameters", dict)
    for name, value in given.items():
        if isinstance(value, dict) and not _is_plain_dict(value):
            with problems:
                declare(config, str(name), value, document, frameworks)
    for name, value in given.items():
        if not isinstance(value, dict) or _is_plain_dict(value):
            with problems:
                where = document.where("parameters", name)
                set_parameter(config, name, value, where)
                replace_variables(config, name, where)
    seen: dict[str, str] = {}
    for key, values in _section(document, "variables", dict).items():
        with problems:
            where = document.where("variables", key)
            other = seen.setdefault(",".join(split_names(key)), key)
            if other != key:
                raise ConfigError(f"variables {other!r} and {key!r} set the same parameter", where=where)
            set_variable(config, key, values, where)
    for index, item in enumerate(_section(document, "extensions", list)):
        with problems:
            config.extensions.append(_extension(item, document.where("extensions", index)))
    for index, item in enumerate(_section(document, "exclude", list)):
        where = document.where("exclude", index)
        if not isinstance(item, dict) or not item:
            raise ConfigError("must be a condition: {name: value}", where=where)
        config.exclude.append(Extension(item, {}, [], where))


def _section(document: Document, key: str, kind: type) -> Any:
    value = document.data.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        expected = "a mapping" if kind is dict else "a list"
        raise ConfigError(f"{key!r} must be {expected}", where=document.where(key))
    return value


def _is_plain_dict(value: dict[str, Any]) -> bool:
    """Whether a mapping is a declaration, by its keys, rather than a value."""
    return not ({"val", "type", "desc"} & set(value))


def _extension(data: Any, where: str) -> Extension:
    if not isinstance(data, dict):
        raise ConfigError("an extension must be a mapping", where=where, hint=f"with {', '.join(_EXTENSION_KEYS)}")
    for key in data:
        if key not in _EXTENSION_KEYS:
            hint = suggestion(str(key), _EXTENSION_KEYS)
            raise ConfigError(f"unknown key {key!r} in an extension", where=where, hint=hint)
    condition, parameters, cases = data.get("condition") or {}, data.get("parameters") or {}, data.get("cases") or []
    if not isinstance(condition, dict) or not isinstance(parameters, dict) or not isinstance(cases, list):
        raise ConfigError("condition and parameters must be mappings, cases a list of mappings", where=where)
    if not all(isinstance(case, dict) for case in cases):
        raise ConfigError("each case must be a mapping of parameters", where=where)
    return Extension(condition, parameters, cases, where)
