"""From files and `-P/-V/-E` flags to one configuration: declarations, parameters, variables, extensions.

Precedence, low to high: the shipped files, each `--config` file in order, the flags. Extensions are applied later, by the
builder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlbs.config.config import Config, Extension, Setting, split_names
from dlbs.config.declarations import TYPES, Parameter
from dlbs.config.documents import Document, load
from dlbs.config.migration import expression_hint, migration_hint, value_hint
from dlbs.errors import ConfigError, DlbsError, did_you_mean
from dlbs.files import dlbs_root
from dlbs.language.template import has_references, is_template, parse

__all__ = ["load_config", "shipped_files"]

_ROOT_KEYS = ("parameters", "variables", "extensions", "exclude")

_DECLARATION_KEYS = ("val", "type", "desc", "val_domain", "val_regexp", "identity", "option_in")

_EXTENSION_KEYS = ("condition", "parameters", "cases")

_CLOSE = 0.84  # similarity from which an unknown name counts as a misspelling of a declared one


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
    parameters: Iterable[str] = (),
    variables: Iterable[str] = (),
    extensions: Iterable[str] = (),
    discard_default: bool = False,
    root: Path | None = None,
) -> Config:
    """Load and merge a configuration.

    Args:
        files: The `--config` files, later ones winning; what is not found here is looked for among the shipped ones.
        parameters: `name=value` texts of `-P`.
        variables: `name=[...]` texts of `-V`.
        extensions: JSON texts of `-E`.
        discard_default: Leave the shipped values out; the declarations stay.
        root: Where `config/` lies; `dlbs_root()` by default.

    Raises:
        ConfigError: Malformed, unknown keys or misspelt names, wrong types.
    """
    config = Config()
    for path in shipped_files(root or dlbs_root()):
        _merge(config, load(path))
    if discard_default:
        config.settings.clear()
        config.extensions.clear()
    for file in files:
        _merge(config, load(_find(file, root or dlbs_root())))
    for flag in parameters:
        name, value = _assignment("-P", flag)
        _set(config, name, value, f"-P{name}")
        config.from_command_line.add(name)
    for flag in variables:
        name, value = _assignment("-V", flag)
        _set_variable(config, name, value, f"-V{name}")
    for flag in extensions:
        try:
            data = json.loads(flag)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{flag[:200]!r} is not JSON: {error}", where="-E") from None
        config.extensions.append(_extension(data, "-E"))
    _add_options(config)
    for extension in (*config.extensions, *config.exclude):
        for parameter_set in (extension.parameters, *extension.cases):
            for name, value in parameter_set.items():
                _check_name(config, name, extension.where)
                _check_value(config, name, value, extension.where)
    return config


def _find(file: str | os.PathLike[str], root: Path) -> Path:
    """A file as named, or the shipped one of that name, such as `recipes/resnet18.yaml`."""
    path, shipped = Path(file), root / "config" / file
    return shipped if not path.exists() and shipped.is_file() else path


def _merge(config: Config, document: Document) -> None:
    data = document.data
    if data is None:
        return
    if not isinstance(data, dict):
        raise ConfigError(
            f"must hold a mapping with {', '.join(_ROOT_KEYS)}, not a {type(data).__name__}", where=document.path
        )
    for key in data:
        if key not in _ROOT_KEYS:
            hint = did_you_mean(str(key), _ROOT_KEYS) or f"known are {', '.join(_ROOT_KEYS)}"
            raise ConfigError(f"unknown key {key!r}", where=document.where(key), hint=hint)
    given = _section(document, "parameters", dict)
    for name, value in given.items():
        if isinstance(value, dict) and not _is_plain_dict(value):
            _declare(config, str(name), value, document)
    for name, value in given.items():
        if not isinstance(value, dict) or _is_plain_dict(value):
            _set(config, str(name), value, document.where("parameters", name))
    for name, values in _section(document, "variables", dict).items():
        _set_variable(config, str(name), values, document.where("variables", name))
    for index, item in enumerate(_section(document, "extensions", list)):
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
    """A mapping is a declaration if it has a declaration's keys, else it is a value."""
    return not ({"val", "type", "desc"} & set(value))


def _declare(config: Config, name: str, given: dict[str, Any], document: Document) -> None:
    where = document.where("parameters", name)
    for key in given:
        if key not in _DECLARATION_KEYS:
            hint = did_you_mean(str(key), _DECLARATION_KEYS) or f"known are {', '.join(_DECLARATION_KEYS)}"
            raise ConfigError(f"unknown key {key!r} in the declaration of {name}", where=where, hint=hint)
    _check_syntax(name, where)
    before = config.declarations.get(name)
    kind = given.get("type", before.type if before else "any")
    if kind not in TYPES:
        hint = did_you_mean(str(kind), TYPES) or f"known are {', '.join(TYPES)}"
        raise ConfigError(f"unknown type {kind!r} of {name}", where=where, hint=hint)
    domain = given.get("val_domain")
    if domain is not None and not isinstance(domain, list):
        raise ConfigError(f"val_domain of {name} must be a list", where=where)
    parameter = Parameter(name, where=where) if before is None else before
    config.declarations[name] = replace(
        parameter,
        type=kind,
        desc=" ".join(str(given.get("desc", parameter.desc)).split()),
        domain=tuple(domain) if domain is not None else parameter.domain,
        regexp=given.get("val_regexp", parameter.regexp),
        identity=given.get("identity", parameter.identity),
        option_in=str(given.get("option_in", parameter.option_in)),
        default=given["val"] if "val" in given and before is None else parameter.default,
    )
    if "val" in given:
        _set(config, name, given["val"], where)


def _add_options(config: Config) -> None:
    """Add `X: ${F.X}` for each parameter F.X to the dictionary that its declaration names (`option_in`), unless X stands there already.

    Raises:
        ConfigError: The dictionary is not declared.
    """
    for name, parameter in config.declarations.items():
        target = parameter.option_in
        if not target:
            continue
        declaration = config.declarations.get(target)
        if declaration is None or declaration.type != "dict":
            hint = did_you_mean(target, config.declarations) or f"declare {target} with type: dict"
            what = f"option_in of {name} names {target!r}, which is not declared as a dictionary"
            raise ConfigError(what, where=parameter.where, hint=hint)
        setting = config.settings.get(target)
        if setting is not None and isinstance(
            setting.value, dict
        ):  # a text that stands for all of it is the user's own
            options = {**setting.value}
            options.setdefault(name.partition(".")[2], f"${{{name}}}")
            config.settings[target] = replace(setting, value=options)


def _set(config: Config, name: str, value: Any, where: str) -> None:
    _check_syntax(name, where)
    _check_name(config, name, where)
    _check_value(config, name, value, where)
    config.settings[name] = Setting(value, where)


def _check_syntax(name: str, where: str) -> None:
    if (
        not name
        or name.startswith("__")
        or not all(part.replace("_", "a").replace("-", "a").isalnum() for part in name.split("."))
    ):
        raise ConfigError(
            f"{name!r} is not a parameter name",
            where=where,
            hint="names are letters, digits, _ and -, in parts joined by dots",
        )


def _check_name(config: Config, name: str, where: str) -> None:
    """An undeclared name is the user's own, unless it looks like a misspelt declared one."""
    if name in config.declarations or name in config.settings:
        return
    former = migration_hint(name)
    if former:
        raise ConfigError(f"unknown parameter {name!r}", where=where, hint=former)
    hint = did_you_mean(name, config.declarations, cutoff=_CLOSE)
    if hint:
        raise ConfigError(
            f"unknown parameter {name!r}",
            where=where,
            hint=f"{hint} To use it all the same, declare it with a 'desc'",
        )


def _check_value(config: Config, name: str, value: Any, where: str) -> None:
    try:
        if is_template(value):
            template = parse(value)
            if template.references or template.volatile or template.functions:
                return
        parameter = config.declarations.get(name)
        if parameter is not None and not has_references(value):
            parameter.check(value)
        if name == "exp.data" and value_hint(name, value):  # it is declared, but nothing would come of it
            raise ConfigError(f"{name} cannot be set", where=where)
    except DlbsError as error:
        hint = value_hint(name, value) or expression_hint(value) or error.hint
        raise ConfigError(error.what, where=where, hint=hint) from None


def _set_variable(config: Config, key: str, values: Any, where: str) -> None:
    names = split_names(key)
    if not isinstance(values, list):
        values = [values]
    if not values:
        raise ConfigError(f"variable {key!r} has no values", where=where, hint="give at least one: [value]")
    for name in names:
        _check_syntax(name, where)
        _check_name(config, name, where)
    for value in values:
        if len(names) == 1:
            _check_value(config, key, value, where)
            continue
        if not isinstance(value, list) or len(value) != len(names):
            raise ConfigError(
                f"each value of {key!r} must be a list of {len(names)}, not {json.dumps(value)[:80]}", where=where
            )
        for name, item in zip(names, value, strict=True):
            _check_value(config, name, item, where)
    for other in [other for other in config.variables if other != key and set(split_names(other)) & set(names)]:
        if where.startswith("-V"):  # what is typed replaces what a file says about the same parameters
            del config.variables[other], config.variable_origins[other]
        else:
            raise ConfigError(f"variables {other!r} and {key!r} set the same parameter", where=where)
    config.variables[key] = values
    config.variable_origins[key] = where


def _extension(data: Any, where: str) -> Extension:
    if not isinstance(data, dict):
        raise ConfigError("an extension must be a mapping", where=where, hint=f"with {', '.join(_EXTENSION_KEYS)}")
    for key in data:
        if key not in _EXTENSION_KEYS:
            hint = did_you_mean(str(key), _EXTENSION_KEYS) or f"known are {', '.join(_EXTENSION_KEYS)}"
            raise ConfigError(f"unknown key {key!r} in an extension", where=where, hint=hint)
    condition, parameters, cases = data.get("condition") or {}, data.get("parameters") or {}, data.get("cases") or []
    if not isinstance(condition, dict) or not isinstance(parameters, dict) or not isinstance(cases, list):
        raise ConfigError("condition and parameters must be mappings, cases a list of mappings", where=where)
    if not all(isinstance(case, dict) for case in cases):
        raise ConfigError("each case must be a mapping of parameters", where=where)
    return Extension(condition, parameters, cases, where)


def _assignment(flag: str, given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError(f"{given!r} is not name=value", where=flag, hint=f"write {flag}exp.model=alexnet")
    return name, parse_value(value, words=flag == "-V")


def parse_value(given: str, *, words: bool = False) -> Any:
    """JSON if it is JSON, else the text itself; with `words`, `[a,b c,1]` is a list of bare words and JSON values."""
    try:
        return json.loads(given)
    except (json.JSONDecodeError, RecursionError):
        stripped = given.strip()
    if words and stripped.startswith("[") and stripped.endswith("]"):
        return [parse_value(word.strip()) for word in stripped[1:-1].split(",")] if stripped[1:-1].strip() else []
    return given
