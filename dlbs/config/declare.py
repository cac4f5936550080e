"""Declarations of parameters in configuration files, and the frameworks that they belong to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dlbs.config.config import Config
from dlbs.config.declarations import TYPES, Parameter
from dlbs.config.documents import Document
from dlbs.config.names import check_names
from dlbs.config.settings import replace_variables, set_parameter
from dlbs.errors import ConfigError, ResolveError, did_you_mean, suggestion
from dlbs.experiment import check_name
from dlbs.text import truth

__all__ = ["add_options", "check_frameworks", "declare", "file_frameworks"]


_DECLARATION_KEYS = (
    "val", "val_else", "type", "desc", "val_domain", "val_regexp", "identity", "option_in", "frameworks", "phases", "follows",
)  # fmt: skip

_UNDECLARED = Parameter("")


def file_frameworks(config: Config, document: Document) -> tuple[str, ...]:
    """The frameworks to which the declarations of a file belong; `{mine: [pytorch]}` declares what `mine` builds on."""
    given = document.data.get("frameworks")
    if given is None:
        return ()
    where = document.where("frameworks")
    named = given if isinstance(given, dict) else {name: [] for name in given} if _are_names(given) else None
    if named is None or not all(isinstance(name, str) and _are_names(others) for name, others in named.items()):
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


def _are_names(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(name, str) and name for name in given)


def check_frameworks(config: Config) -> None:
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


def declare(config: Config, name: str, given: dict[str, Any], document: Document, frameworks: tuple[str, ...]) -> None:
    where = document.where("parameters", name)
    for key in given:
        if key not in _DECLARATION_KEYS:
            hint = suggestion(str(key), _DECLARATION_KEYS)
            raise ConfigError(f"unknown key {key!r} in the declaration of {name}", where=where, hint=hint)
    check_name(name, where)
    own = given.get("frameworks", list(frameworks))
    if not _are_names(own):
        raise ConfigError(f"frameworks of {name} must be a list of frameworks", where=where)
    phases = given.get("phases", document.data.get("phases") or [])
    if not _are_names(phases):
        raise ConfigError(f"phases of {name} must be a list of values of exp.phase", where=where)
    before = config.declarations.get(name)
    if before is None and "desc" not in given:  # a description declares a new parameter
        check_names(config, [name], where)
    kind = given.get("type", before.type if before else "any")
    if kind not in TYPES:
        raise ConfigError(f"unknown type {kind!r} of {name}", where=where, hint=suggestion(str(kind), TYPES))
    identity = truth(given["identity"]) if "identity" in given else before is None or before.identity
    if identity is None:
        raise ConfigError(f"identity of {name} must be true or false, not {given['identity']!r}", where=where)
    if not isinstance(given.get("val_regexp", ""), str):
        raise ConfigError(f"val_regexp of {name} must be a string, not {given['val_regexp']!r}", where=where)
    domain = given.get("val_domain")
    if domain is not None and not isinstance(domain, list):
        raise ConfigError(f"val_domain of {name} must be a list", where=where)
    if not isinstance(given.get("val_else", []), list):
        raise ConfigError(f"val_else of {name} must be a list of values", where=where)
    if not isinstance(given.get("follows", ""), str):
        raise ConfigError(f"follows of {name} must be the name of a parameter", where=where)
    old = before or _UNDECLARED
    parameter = Parameter(
        name,
        type=kind,
        desc=" ".join(str(given.get("desc", old.desc)).split()),
        domain=tuple(domain) if domain is not None else old.domain,
        regexp=given.get("val_regexp", old.regexp),
        identity=identity,
        option_in=str(given.get("option_in", old.option_in)),
        default=given.get("val") if before is None else before.default,
        where=where if before is None else before.where,
        frameworks=tuple(own) if before is None else before.frameworks,
        phases=tuple(phases) if before is None else before.phases,
        follows=given.get("follows", old.follows),
        alternatives=tuple(given.get("val_else", old.alternatives)),
    )
    try:
        config.declarations[name] = parameter.with_domain_cast()
    except ResolveError as error:
        raise ConfigError(f"val_domain of {name}: {error.what}", where=where) from None
    if "val" in given:
        # An identical second declaration, as `print-config --json` writes it, does not set the parameter.
        as_before = before is not None and given["val"] == before.default
        set_parameter(config, name, given["val"], before.where if before is not None and as_before else where)
        if before is not None and not as_before:
            replace_variables(config, name, where)


def add_options(config: Config) -> None:
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
                config.declarations[target] = replace(declaration, default=options)
            config.settings[target] = replace(setting, value=options)
