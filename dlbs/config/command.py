"""A command to benchmark, as it is typed after `--`: its placeholders, and which of its words are options of ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from dlbs.config.config import Config, Extension, values_of
from dlbs.errors import ConfigError, did_you_mean
from dlbs.language.template import escape

__all__ = [
    "FRAMEWORK",
    "add_command",
    "check_placeholders",
    "command_parameters",
    "misplaced_options",
    "own_options",
    "placeholders",
    "with_references",
]

FRAMEWORK = "command"

# `{name}` is a parameter and `{{name}}` the characters {name}. Whatever else has braces is left alone: `{}` of find, JSON, `${x}` of shells.
_PLACEHOLDER = re.compile(r"\{\{([\w.-]+)\}\}|(?<!\$)\{([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}")
_OPTION = re.compile(r"-([PV])([A-Za-z_][\w.,-]*)=.*", re.DOTALL)
_PLAIN = re.compile(r"[\w@%+=:,./{}-]+")  # words that a label shows without quotes
_NAME = 60  # characters of the command in the names of log files


def placeholders(words: Iterable[str]) -> list[str]:
    """The parameters that the words of a command refer to, each once."""
    found = (match[2] for word in words for match in _PLACEHOLDER.finditer(word))
    return list(dict.fromkeys(name for name in found if name))


def own_options(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The command, and the texts of `-P` and `-V` that follow it.

    What follows `--` is the command. Only words at its end that set a parameter which the command refers to, as in
    `bench --size {size} -Vsize=[1,2]`, are ours: nobody else could mean them.
    """
    command = list(words)
    given: dict[str, list[str]] = {"P": [], "V": []}
    while len(command) > 1 and (found := _OPTION.fullmatch(command[-1])) is not None:
        names = [name.strip() for name in found[2].split(",")]
        if not set(names) <= set(placeholders(command[:-1])):
            break
        given[found[1]].insert(0, command.pop()[2:])
    return command, given["P"], given["V"]


def misplaced_options(config: Config, words: Sequence[str]) -> list[str]:
    """Words at the end of a command that set parameters of ours, which they do not where they stand."""
    found: list[str] = []
    for word in reversed(words[1:]):
        option = _OPTION.fullmatch(word)
        if option is None or not set(option[2].split(",")) <= config.declarations.keys():
            break
        found.insert(0, word)
    return found


def _template(word: str) -> str:
    """A word as the value of a parameter: placeholders become references, and all other characters mean themselves."""
    parts, position = [], 0
    for found in _PLACEHOLDER.finditer(word):
        before = word[position : found.start()]
        if found[2]:
            backslashes = len(before) - len(before.rstrip("\\"))  # one before a reference would take its meaning away
            parts += [str(escape(before)), "\\" * backslashes, f"${{{found[2]}}}"]
        else:
            parts.append(str(escape(f"{before}{{{found[1]}}}")))
        position = found.end()
    return "".join([*parts, str(escape(word[position:]))])


def with_references(value: Any) -> Any:
    """The text of a parameter that belongs to a command, such as command.prepare: its placeholders become references."""
    if not isinstance(value, str):
        return value
    return _PLACEHOLDER.sub(lambda found: f"${{{found[2]}}}" if found[2] else f"{{{found[1]}}}", value)


def command_parameters(words: Sequence[str]) -> dict[str, Any]:
    """The parameters that make an experiment of a command.

    Raises:
        ConfigError: There is no command.
    """
    if not words or not words[0]:
        raise ConfigError("which command?", where="--", hint="dlbs run -- python bench.py --size {size} -Vsize=[1,2,4]")
    line = " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in words)
    return {
        "exp.framework": FRAMEWORK,
        "command.argv": [_template(word) for word in words],
        "command.line": escape(line),
    }


def check_placeholders(config: Config, words: Sequence[str]) -> None:
    """Raise a ConfigError for the first placeholder of a command that nothing gives a value.

    A shipped default counts if commands have the parameter: the model of a command is no default of ours.
    """
    known = {
        name
        for name in config.known_names()
        if not config.is_shipped(name)
        or name in config.variables
        or not (owners := config.declarations[name].frameworks)
        or FRAMEWORK in owners
    }
    for name in placeholders(words):
        if name not in known:
            own = [one for one in known if not config.is_shipped(one)]
            own += [one for one in config.declarations if name.partition(".")[0] in config.namespaces and one != name]
            own += [found[2] for word in words if (found := _OPTION.fullmatch(word)) is not None]
            hint = did_you_mean(name, own) or f"write -V{name}=[1,2,4] or -P{name}=VALUE"
            raise ConfigError(
                f"nothing gives {{{name}}} a value",
                where=f"-- {' '.join(words)}",
                hint=f"{hint}; {{{{{name}}}}} is the literal text {{{name}}}",
            )


def add_command(config: Config) -> None:
    """Put an extension with what suits commands before the configuration's own; what the user sets stays as it is."""
    if FRAMEWORK not in values_of(config, "exp.framework"):
        return
    given = {name for name in config.settings if not config.is_shipped(name)}
    given |= {name.strip() for key in config.variables for name in key.split(",")}
    slug = f"$(re.sub('[^A-Za-z0-9._-]+', '-', '${{command.argv}}')[:{_NAME}])$"
    parameters: dict[str, Any] = {
        "exp.num_batches": 10,
        "exp.num_warmup_batches": 1,
        "exp.docker": "exp.docker_image" in given,  # a command is one of this machine, unless an image is named
        "exp.log_file": f"${{exp.log_dir}}/command_{slug}_${{exp.id}}.log",
    }
    parameters["runtime.malloc"] = "system"  # what a program does to its memory is part of what is measured
    if "exp.num_batches" not in given:
        parameters["command.min_seconds"] = 3
    left = {name: value for name, value in parameters.items() if name not in given}
    where = config.settings["exp.framework"].where if "exp.framework" in config.settings else "exp.framework"
    config.extensions.insert(0, Extension({"exp.framework": FRAMEWORK}, left, [], where))
