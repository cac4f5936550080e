"""Shell completion: names of parameters after -P and -V, their values, models, packs and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_file", "complete_help", "complete_pack", "complete_parameter", "parameter_words"]


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def parameter_words(incomplete: str) -> list[str]:
    """Complete `NAME=`, or, after the equals sign, `NAME=VALUE`; of a list in brackets, the last element."""
    from dlbs.config.load import load_config

    name, equals, value = incomplete.partition("=")
    if not equals:
        return _beginning((f"{one}=" for one in load_config().declarations), name)
    begin = re.match(r"(\[(?:.*,)?)?", value)
    assert begin is not None  # it may be empty
    return [f"{name}={begin[0]}{one}" for one in _beginning(_values(name), value[begin.end() :])]


def _values(name: str) -> list[str]:
    """The allowed values of a parameter, where they are known."""
    from dlbs.config.load import load_config
    from dlbs.text import text

    parameter = load_config().declarations.get(name)
    if name == "exp.model":
        return _models()
    if name == "exp.pack":
        return _packs()
    if name == "exp.framework":
        return _frameworks()
    if parameter is None:
        return []
    if parameter.domain is not None:
        return [text(value) for value in parameter.domain]
    return ["true", "false"] if parameter.type == "bool" else []


def _models() -> list[str]:
    from dlbs.config.models import known_models

    return list(known_models())


def _packs() -> list[str]:
    from dlbs.packs.definition import find_packs

    return list(find_packs(problems=[]))  # the command itself reports malformed packs


def _frameworks() -> list[str]:
    from dlbs.config.load import load_config
    from dlbs.plan.explain import describe_frameworks

    return [line.split()[0] for line in describe_frameworks(load_config())]


def complete_parameter(context: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the value of -P or -V that is a separate word."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in parameter_words(incomplete)]


def complete_file(context: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_pack(context: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a pack; of several separated by commas, the last one."""
    from click.shell_completion import CompletionItem

    before = incomplete[: incomplete.rfind(",") + 1]
    return [CompletionItem(before + name) for name in _beginning(_packs(), incomplete[len(before) :])]


def complete_help(context: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names that `dlbs help` describes: parameters, keys of results and models."""
    from click.shell_completion import CompletionItem

    from dlbs.config.load import load_config
    from dlbs.results.key_table import known_keys

    names = dict.fromkeys([*load_config().declarations, *known_keys(), *_models()])
    return [CompletionItem(name) for name in _beginning(names, incomplete)]
