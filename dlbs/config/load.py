"""Load and merge configuration files and `-P/-V/-E` flags.

Precedence, low to high: the shipped files, each `--plan` file in order, the flags. Extensions are applied later, by the
builder.
"""

from __future__ import annotations

import functools
import json
import marshal
import os
import re
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.config.config import Assignments, Config, Extension, Setting, assignments, split_names
from dlbs.config.declarations import FIELDS, TYPES, Parameter, are_names
from dlbs.core.errors import ConfigError, Problems, ResolveError, did_you_mean, suggestion
from dlbs.core.experiment import check_name
from dlbs.core.files import JsonError, dlbs_root, load_json, read_from_cache, read_text, user_cache, write_to_cache
from dlbs.core.version import __version__

if TYPE_CHECKING:
    from dlbs.config.documents import Document

_ROOT_KEYS = ("frameworks", "phases", "parameters", "variables", "extensions", "exclude")
_EXTENSION_KEYS = ("condition", "parameters", "cases")

# Increment the first number if another configuration is made of the same files.
_FORMAT = f"dlbs 2 {__version__} {sys.version_info[0]}.{sys.version_info[1]} {marshal.version} {Parameter._fields}"
_LARGEST = 16 << 20  # bytes of the cached configuration
_MOST = 8  # caches: one for each directory with a configuration

_Files = tuple[tuple[str, str], ...]  # names and texts


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
        files: The `--plan` files; later ones take precedence. Files that do not exist are searched among the shipped ones.
        parameters: Of `-P`: a mapping, or `name=value` strings.
        variables: Of `-V`: a mapping, or `name=a,b` strings.
        extensions: Of `-E`: mappings, or their JSON text.
        discard_default: Ignore the shipped values; the declarations are kept.
        root: The directory that contains `config/`; `dlbs_root()` by default.
        problems: Collects the errors, for a caller that continues and raises them later.

    Raises:
        ConfigError: Malformed input, unknown keys or names, wrong types; all errors together.
    """
    later = problems is not None
    problems = Problems() if problems is None else problems
    config = shipped(tuple((str(path), read_text(path)) for path in shipped_files(root or dlbs_root())))
    if discard_default:
        config.settings.clear()
        config.extensions.clear()
    for file in files:
        with problems:
            from dlbs.config import documents

            _merge(config, documents.load(_find(file, root or dlbs_root())), problems)
    with problems:
        _check_frameworks(config)
    before = config.known_names()
    for name, value in assignments("-P", parameters, problems):
        with problems:
            config.set_parameter(name, value, f"-P{name}")
            config.replace_variables(name, f"-P{name}")
            config.from_command_line.add(name)
    for name, value in assignments("-V", variables, problems):
        with problems:
            config.set_variable(name, value, f"-V{name}")
    for flag in extensions:
        with problems:
            config.extensions.append(_extension(_extension_data(flag), "-E"))
    with problems:
        _add_options(config)
    for extension in config.extensions:
        for name, value in extension.assigned():
            with problems:
                config.check_value(name, value, extension.where)
    config.check_all_names(problems)
    if not later:
        problems.raise_all()
    config.typed = {
        name: where for name, where in config.assigned() if where.startswith(("-P", "-V", "-E")) and name not in before
    }
    return config


def shipped(files: _Files) -> Config:
    """Merge the shipped files, each a name and a text, to a new configuration.

    What the same texts gave the last time is in one file under `$XDG_CACHE_HOME/dlbs/config`, with the texts themselves, so it is never
    outdated: parsing and checking them would be a quarter of the start of most commands. A file that is damaged, cannot be written, or
    belongs to another user is ignored: the configuration determines what is run.

    Raises:
        ConfigError: A file is malformed.
    """
    return _unpacked(_merged(files))


@functools.lru_cache(maxsize=4)  # for processes that load several configurations
def _merged(files: _Files) -> bytes:
    """The merged files, for `_unpacked`."""
    try:
        path = user_cache("config") / f"{zlib.crc32(repr((_FORMAT, files[0][0])).encode()):08x}.marshal"
    except RuntimeError:  # a user without a home directory
        return _packed(_merge_all(files))
    cached = read_from_cache(path, _LARGEST)
    if cached is not None:
        try:
            form, of_files, packed = marshal.loads(cached)
            if (form, of_files) == (_FORMAT, files):
                _unpacked(packed)
                return bytes(packed)
        except (AttributeError, EOFError, TypeError, ValueError):  # written by something else
            pass
    packed = _packed(_merge_all(files))
    write_to_cache(path, marshal.dumps((_FORMAT, files, packed)), most=_MOST)
    return packed


def _merge_all(files: _Files) -> Config:
    from dlbs.config import documents

    config, problems = Config(), Problems()
    for file in files:
        _merge(config, documents.parse(*file), problems)
    problems.raise_all()
    _add_options(config)
    return config


def _packed(config: Config) -> bytes:
    """The part of a configuration that files can set."""
    return marshal.dumps(
        (
            [tuple(one) for one in config.declarations.values()],
            [(name, *setting) for name, setting in config.settings.items()],
            (config.variables, config.variable_origins, config.builds_on, config.builds_on_origins),
            [tuple(one) for one in config.extensions],
            [tuple(one) for one in config.exclude],
            sorted(config.fixed),
        )
    )


def _unpacked(packed: bytes) -> Config:
    """A new configuration for each caller."""
    declarations, settings, mappings, extensions, exclude, fixed = marshal.loads(packed)
    return Config(
        {one[0]: Parameter(*one) for one in declarations},
        {name: Setting(value, where) for name, value, where in settings},
        mappings[0],
        mappings[1],
        [Extension(*one) for one in extensions],
        [Extension(*one) for one in exclude],
        mappings[2],
        mappings[3],
        namespaces=frozenset(one[0].partition(".")[0] for one in declarations),
        fixed=set(fixed),
    )


def _find(file: str | os.PathLike[str], root: Path) -> Path:
    """The path of a file, or of the shipped one of that name, such as `recipes/resnet18.yaml`."""
    path, shipped = Path(file), root / "config" / file
    return shipped if not path.exists() and shipped.is_file() else path


def _merge(config: Config, document: Document, problems: Problems) -> None:
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        raise ConfigError(
            f"must contain a mapping with {', '.join(_ROOT_KEYS)}, not a {type(data).__name__}",
            where=document.path,
            hint="experiments are a JSON list, in a .json or .jsonl file" if isinstance(data, list) else "",
        )
    for key in data:
        if key not in _ROOT_KEYS:
            hint = "write it below parameters:, or below variables: to vary it" if "." in str(key) else ""
            hint = hint or suggestion(str(key), _ROOT_KEYS)
            raise ConfigError(f"unknown key {key!r}", where=document.where(key), hint=hint)
    if document.data != {} and all(value is None for value in data.values()):
        hint = "write parameters: or variables:, and below it name: value"
        raise ConfigError("is empty: it describes no experiment", where=document.path, hint=hint)
    frameworks = _file_frameworks(config, document)
    given = _section(document, "parameters", dict)
    for name, value in given.items():
        if isinstance(value, dict) and not _is_plain_dict(value):
            with problems:
                _declare(config, str(name), value, document, frameworks)
    for name, value in given.items():
        if not isinstance(value, dict) or _is_plain_dict(value):
            with problems:
                where = document.where("parameters", name)
                config.set_parameter(name, value, where)
                config.replace_variables(name, where)
    seen: dict[str, str] = {}
    for key, values in _section(document, "variables", dict).items():
        with problems:
            where = document.where("variables", key)
            other = seen.setdefault(",".join(split_names(key)), key)
            if other != key:
                raise ConfigError(f"variables {other!r} and {key!r} set the same parameter", where=where)
            config.set_variable(key, values, where)
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
        hint = "write a space after the colon: name: value" if re.match(r"[\w.-]+:\S", str(value)) else ""
        raise ConfigError(f"{key!r} must be {expected}", where=document.where(key), hint=hint)
    return value


def _is_plain_dict(value: dict[str, Any]) -> bool:
    """Whether a mapping is a declaration, by its keys, rather than a value."""
    return not ({"val", "type", "desc"} & set(value))


def _extension_data(given: str | Mapping[str, Any]) -> Any:
    if not isinstance(given, str):
        return dict(given)
    try:
        return load_json(given)
    except JsonError as error:
        hint = """write -E '{"condition": {"exp.model": "alexnet"}, "parameters": {"exp.replica_batch": 64}}'"""
        raise ConfigError(f"{given[:200]!r} is not JSON: {error}", where="-E", hint=hint) from None


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


def _file_frameworks(config: Config, document: Document) -> tuple[str, ...]:
    """The frameworks to which the declarations of a file belong; `{mine: [pytorch]}` declares what `mine` builds on."""
    given = document.data.get("frameworks")
    if given is None:
        return ()
    where = document.where("frameworks")
    named = given if isinstance(given, dict) else {name: [] for name in given} if are_names(given) else None
    if named is None or not all(isinstance(name, str) and are_names(others) for name, others in named.items()):
        raise ConfigError(
            "'frameworks' must contain names of frameworks",
            where=where,
            hint="write [mine], or {mine: [pytorch]} if mine also has the parameters of pytorch",
        )
    for name, others in named.items():
        if others:
            config.builds_on[name] = tuple(others)
            config.builds_on_origins[name] = document.where("frameworks", name)
    return tuple(named)


def _declare(config: Config, name: str, given: dict[str, Any], document: Document, frameworks: tuple[str, ...]) -> None:
    """Add a file's declaration of a parameter, or change an earlier one, whose frameworks, phases and default value remain."""
    where = document.where("parameters", name)
    for key in given:
        if key not in ("val", *FIELDS):
            hint = suggestion(str(key), ("val", *FIELDS))
            raise ConfigError(f"unknown key {key!r} in the declaration of {name}", where=where, hint=hint)
    check_name(name, where)
    before = config.declarations.get(name)
    if before is None and "desc" not in given:  # a description declares a new parameter
        config.check_names([name], where)
    of_file = {"frameworks": list(frameworks), "phases": document.data.get("phases") or []}
    read = {
        FIELDS[key].attribute: _read(name, key, value, where)
        for key, value in {**of_file, **given}.items()
        if key != "val"
    }
    read = {attribute: value for attribute, value in read.items() if value is not None}
    if before is None:
        parameter = Parameter(name, default=given.get("val"), where=where)._replace(**read)
    else:
        parameter = before._replace(**{**read, "frameworks": before.frameworks, "phases": before.phases})
    try:
        config.declarations[name] = parameter.with_domain_cast()
    except ResolveError as error:
        raise ConfigError(f"val_domain of {name}: {error.what}", where=where) from None
    if "val" in given:
        # An identical second declaration, as `print-config --json` writes it, does not set the parameter.
        as_before = before is not None and given["val"] == before.default
        config.set_parameter(name, given["val"], before.where if before is not None and as_before else where)
        if before is not None and not as_before:
            config.replace_variables(name, where)


def _read(name: str, key: str, value: Any, where: str) -> Any:
    try:
        return FIELDS[key].read(value)
    except (TypeError, ValueError):
        what = f"{key} of {name} must be {FIELDS[key].expected}, not {json.dumps(value)[:80]}"
        hint = did_you_mean(str(value), TYPES) if key == "type" else ""
        raise ConfigError(what, where=where, hint=hint) from None


def _add_options(config: Config) -> None:
    """Add `X: ${F.X}` for each parameter F.X to the dictionary that its declaration names (`option_in`), unless it contains X.

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
        ):  # a string that replaces the whole dictionary was set by the user
            options = {**setting.value}
            options.setdefault(name.partition(".")[2], f"${{{name}}}")
            if config.is_shipped(target):
                config.declarations[target] = declaration._replace(default=options)
            config.settings[target] = Setting(options, setting.where)


def _check_frameworks(config: Config) -> None:
    """Raise a ConfigError if a framework builds on an unknown one: without parameters, and not building on others."""
    known = {name for parameter in config.declarations.values() for name in parameter.frameworks} | set(
        config.builds_on
    )
    for name, others in config.builds_on.items():
        for other in others:
            if other not in known:
                hint = suggestion(other, sorted(known))
                where = config.builds_on_origins[name]
                raise ConfigError(
                    f"{name} builds on the framework {other!r}, which has no parameters", where=where, hint=hint
                )
