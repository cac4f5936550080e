"""From files and `-P/-V/-E` flags to one configuration: declarations, parameters, variables, extensions.

Precedence, low to high: the shipped files, each `--config` file in order, the flags. Extensions are applied later, by the
builder.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlbs.config.config import Config, Extension, Setting, split_names
from dlbs.config.declarations import TYPES, Parameter
from dlbs.config.documents import Document, load
from dlbs.config.flags import Assignments, assignments, extension_data
from dlbs.config.migration import expression_hint, value_hint
from dlbs.config.names import check_all_names, check_names
from dlbs.errors import ConfigError, DlbsError, did_you_mean, suggestion
from dlbs.experiment import check_name
from dlbs.files import dlbs_root
from dlbs.language.template import is_template, parse

__all__ = ["load_config", "shipped_files"]

_log = logging.getLogger("dlbs")

_ROOT_KEYS = ("frameworks", "parameters", "variables", "extensions", "exclude")
_DECLARATION_KEYS = ("val", "type", "desc", "val_domain", "val_regexp", "identity", "option_in", "frameworks")
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
) -> Config:
    """Load and merge a configuration.

    Args:
        files: The `--config` files, later ones winning; what is not found here is looked for among the shipped ones.
        parameters: Of `-P`: a mapping, or `name=value` texts.
        variables: Of `-V`: a mapping, or `name=[...]` texts.
        extensions: Of `-E`: mappings, or their JSON texts.
        discard_default: Leave the shipped values out; the declarations stay.
        root: Where `config/` lies; `dlbs_root()` by default.

    Raises:
        ConfigError: Malformed, unknown keys or misspelt names, wrong types.
    """
    config = Config()
    for path in shipped_files(root or dlbs_root()):
        _merge(config, load(path))
    _add_options(config)
    config.namespaces = frozenset(name.partition(".")[0] for name in config.declarations)
    if discard_default:
        config.settings.clear()
        config.extensions.clear()
    for file in files:
        _merge(config, load(_find(file, root or dlbs_root())))
    _check_frameworks(config)
    before = config.known_names()
    for name, value in assignments("-P", parameters):
        _set(config, name, value, f"-P{name}")
        _replace_variables(config, name)
        config.from_command_line.add(name)
    for name, value in assignments("-V", variables):
        _set_variable(config, name, value, f"-V{name}")
    for flag in extensions:
        config.extensions.append(_extension(extension_data(flag), "-E"))
    _add_options(config)
    for extension in config.extensions:
        for parameter_set in (extension.parameters, *extension.cases):
            for name, value in parameter_set.items():
                _check_value(config, name, value, extension.where)
    check_all_names(config)
    config.typed = {name: where for name, where in _typed(config) if name not in before}
    return config


def _typed(config: Config) -> Iterator[tuple[str, str]]:
    """The names that the command line sets, and its flag for each."""
    yield from ((name, f"-P{name}") for name in config.from_command_line)
    for key, where in config.variable_origins.items():
        if where.startswith("-V"):
            yield from ((name, where) for name in split_names(key))
    for extension in config.extensions:
        if extension.where == "-E":
            for parameters in (extension.parameters, *extension.cases):
                yield from ((name, "-E") for name in parameters)


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
            raise ConfigError(f"unknown key {key!r}", where=document.where(key), hint=suggestion(str(key), _ROOT_KEYS))
    frameworks = _frameworks(config, document)
    given = _section(document, "parameters", dict)
    for name, value in given.items():
        if isinstance(value, dict) and not _is_plain_dict(value):
            _declare(config, str(name), value, document, frameworks)
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


def _frameworks(config: Config, document: Document) -> tuple[str, ...]:
    """The frameworks to which the declarations of a file belong; `{mine: [pytorch]}` says what `mine` builds on."""
    given = document.data.get("frameworks")
    if given is None:
        return ()
    where = document.where("frameworks")
    named = given if isinstance(given, dict) else {name: [] for name in given} if _are_names(given) else None
    if named is None or not all(isinstance(name, str) and _are_names(others) for name, others in named.items()):
        raise ConfigError(
            "'frameworks' must name frameworks",
            where=where,
            hint="write [mine], or {mine: [pytorch]} if mine has the parameters of pytorch too",
        )
    for name, others in named.items():
        if others:
            config.builds_on[name] = tuple(others)
            config.builds_on_origins[name] = document.where("frameworks", name)
    return tuple(named)


def _are_names(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(name, str) and name for name in given)


def _check_frameworks(config: Config) -> None:
    """Frameworks can only build on those that exist: to which parameters belong, or that build on others."""
    known = {name for parameter in config.declarations.values() for name in parameter.frameworks} | set(
        config.builds_on
    )
    for name, others in config.builds_on.items():
        for other in others:
            if other not in known:
                hint = suggestion(other, sorted(known))
                where = config.builds_on_origins[name]
                raise ConfigError(
                    f"{name} builds on the framework {other!r}, to which nothing belongs", where=where, hint=hint
                )


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


def _declare(config: Config, name: str, given: dict[str, Any], document: Document, frameworks: tuple[str, ...]) -> None:
    where = document.where("parameters", name)
    for key in given:
        if key not in _DECLARATION_KEYS:
            hint = suggestion(str(key), _DECLARATION_KEYS)
            raise ConfigError(f"unknown key {key!r} in the declaration of {name}", where=where, hint=hint)
    check_name(name, where)
    own = given.get("frameworks", list(frameworks))
    if not _are_names(own):
        raise ConfigError(f"frameworks of {name} must be a list of frameworks", where=where)
    before = config.declarations.get(name)
    if before is None and "desc" not in given:  # what has a description is meant to be new
        check_names(config, [name], where)
    kind = given.get("type", before.type if before else "any")
    if kind not in TYPES:
        raise ConfigError(f"unknown type {kind!r} of {name}", where=where, hint=suggestion(str(kind), TYPES))
    if not isinstance(given.get("identity", True), bool):
        raise ConfigError(f"identity of {name} must be true or false, not {given['identity']!r}", where=where)
    if not isinstance(given.get("val_regexp", ""), str):
        raise ConfigError(f"val_regexp of {name} must be a text, not {given['val_regexp']!r}", where=where)
    domain = given.get("val_domain")
    if domain is not None and not isinstance(domain, list):
        raise ConfigError(f"val_domain of {name} must be a list", where=where)
    parameter = Parameter(name, where=where, frameworks=tuple(own)) if before is None else before
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
        # Who declares a parameter again as it was, as `print-config --json` does, has not set it.
        as_before = before is not None and given["val"] == before.default
        _set(config, name, given["val"], before.where if before is not None and as_before else where)


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
            if config.is_shipped(target):
                config.declarations[target] = replace(declaration, default=options)
            config.settings[target] = replace(setting, value=options)


def _set(config: Config, name: str, value: Any, where: str) -> None:
    check_name(name, where)
    _check_value(config, name, value, where)
    config.settings[name] = Setting(value, where)


def _check_value(config: Config, name: str, value: Any, where: str) -> None:
    try:
        parameter = config.declarations.get(name)
        if is_template(value):
            template = parse(value)
            if not template.is_literal:  # checked when it is computed
                return
            value = template.literal
        if parameter is not None:
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
        check_name(name, where)
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
    for name in names:
        if where.startswith("-V") and name in config.from_command_line:
            raise ConfigError(f"-P{name} sets the same parameter", where=where, hint="leave one of them out")
    for other in [other for other in config.variables if other != key and set(split_names(other)) & set(names)]:
        if where.startswith("-V"):  # what is typed replaces what a file says about the same parameters
            del config.variables[other], config.variable_origins[other]
        else:
            raise ConfigError(f"variables {other!r} and {key!r} set the same parameter", where=where)
    config.variables[key] = values
    config.variable_origins[key] = where


def _replace_variables(config: Config, name: str) -> None:
    """What is typed wins: a parameter that `-P` sets does not vary, whatever a file says."""
    for key in [key for key in config.variables if name in split_names(key)]:
        where = config.variable_origins.pop(key)
        _log.info("-P%s replaces the values that %s gives to %s", name, where, name)
        names, rows = split_names(key), config.variables.pop(key)
        if len(names) > 1:
            place = names.index(name)
            columns = [[*row[:place], *row[place + 1 :]] for row in rows]
            rest = columns if len(names) > 2 else [row[0] for row in columns]
            other = ",".join(names[:place] + names[place + 1 :])
            # Rows that differed in this parameter alone are one now.
            config.variables[other] = list({json.dumps(row): row for row in rest}.values())
            config.variable_origins[other] = where


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
