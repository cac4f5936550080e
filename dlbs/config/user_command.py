"""A command to benchmark, given after `--`: its placeholders, and the options of dlbs at its end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from dlbs.config.config import Config, Extension, values_of
from dlbs.core.errors import ConfigError, did_you_mean
from dlbs.core.text import text
from dlbs.language.template import escape

FRAMEWORK = "command"

# `{name}` is a parameter and `{{name}}` the characters {name}. Other braces are unchanged: `{}` of find, JSON, `${x}` of shells.
_PLACEHOLDER = r"\{\{([\w.-]+)\}\}|(?<!\$)\{([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}"
_OPTION = r"(?s)-([PV])([A-Za-z_][\w.,-]*)=.*"
_REFERENCE = re.compile(r"\$\{([\w.-]+)\}")
_PLAIN = r"[\w@%+=:,./{}-]+"  # words that a label shows without quotes
_NAME = 60  # characters of the command in the names of log files


def placeholders(words: Iterable[str]) -> list[str]:
    """The distinct parameters that the words of a command refer to."""
    found = (match[2] for word in words for match in re.finditer(_PLACEHOLDER, word))
    return list(dict.fromkeys(name for name in found if name))


def own_options(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The command, and the texts of `-P` and `-V` that follow it.

    The words after `--` are the command, except words at its end that set a parameter which the command refers to, as in
    `bench --size {size} -Vsize=1,2`: these are options of dlbs.
    """
    command = list(words)
    given: dict[str, list[str]] = {"P": [], "V": []}
    while len(command) > 1 and (found := re.fullmatch(_OPTION, command[-1])) is not None:
        names = [name.strip() for name in found[2].split(",")]
        if not set(names) <= set(placeholders(command[:-1])):
            break
        given[found[1]].insert(0, command.pop()[2:])
    return command, given["P"], given["V"]


def misplaced_options(config: Config, words: Sequence[str]) -> list[str]:
    """Words at the end of a command that look like options of dlbs, but are passed to the command."""
    found: list[str] = []
    known = {*config.declarations, *placeholders(words)}
    for word in reversed(words[1:]):
        option = re.fullmatch(_OPTION, word)
        if option is None or (option[1] == "P" and not set(option[2].split(",")) <= known):
            break
        found.insert(0, word)
    return found


def _template(word: str) -> str:
    """A word as the value of a parameter: placeholders become references, and all other characters are literal."""
    parts, position = [], 0
    for found in re.finditer(_PLACEHOLDER, word):
        before = word[position : found.start()]
        if found[2]:
            backslashes = len(before) - len(before.rstrip("\\"))  # a backslash before a reference would escape it
            parts += [str(escape(before)), "\\" * backslashes, f"${{{found[2]}}}"]
        else:
            parts.append(str(escape(f"{before}{{{found[1]}}}")))
        position = found.end()
    return "".join([*parts, str(escape(word[position:]))])


def with_references(value: Any) -> Any:
    """The text of a command's parameter, such as command.prepare, with placeholders as references."""
    if not isinstance(value, str):
        return value
    return re.sub(_PLACEHOLDER, lambda found: f"${{{found[2]}}}" if found[2] else f"{{{found[1]}}}", value)


def command_parameters(words: Sequence[str]) -> dict[str, Any]:
    """The parameters of an experiment that runs a command.

    Raises:
        ConfigError: There is no command.
    """
    if not words or not words[0]:
        raise ConfigError(
            "the command is missing", where="--", hint="dlbs run -- python bench.py --size {size} -Vsize=1,2,4"
        )
    return {
        "exp.framework": FRAMEWORK,
        "command.argv": [_template(word) for word in words],
        "command.line": _line(words),
    }


def _line(words: Iterable[str]) -> str:
    """The command as one literal line, with its placeholders."""
    return str(escape(" ".join(word if re.fullmatch(_PLAIN, word) else shlex.quote(word) for word in words)))


def check_placeholders(config: Config, words: Sequence[str]) -> None:
    """Raise a ConfigError for the first placeholder of a command without a value.

    Shipped defaults count only for parameters that commands have: the model of a command has no default.
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
        if isinstance(config.parameters().get(name), list) and name not in config.varying_names():
            hint = "to vary it, write -V instead of -P"
            raise ConfigError(f"the placeholder {{{name}}} is a list", where=config.origin(name), hint=hint)
        if name not in known:
            own = [one for one in known if not config.is_shipped(one)]
            own += [one for one in config.declarations if name.partition(".")[0] in config.namespaces and one != name]
            own += [found[2] for word in words if (found := re.fullmatch(_OPTION, word)) is not None]
            unread = _unread_option(words, name)
            if unread:
                raise ConfigError(unread, where=f"-- {' '.join(words)}", hint="put options of dlbs before --")
            hint = did_you_mean(name, own) or f"write -V{name}=1,2,4 or -P{name}=VALUE"
            raise ConfigError(
                f"the placeholder {{{name}}} has no value",
                where=f"-- {' '.join(words)}",
                hint=f"{hint}; {{{{{name}}}}} is the literal text {{{name}}}",
            )


def _unread_option(words: Sequence[str], name: str) -> str:
    """Why an option at the end of a command that sets a placeholder was not read; empty if there is none."""
    trailing: list[str] = []
    for word in reversed(words[1:]):
        option = re.fullmatch(_OPTION, word)
        if option is None:
            break
        if name in (one.strip() for one in option[2].split(",")):
            behind = trailing[-1] if trailing else ""
            return f"{word} was not read, because {behind} follows it" if behind else ""
        trailing.append(word)
    return ""


def add_command(config: Config) -> None:
    """Insert an extension with defaults for commands before the configuration's own; values that the user sets are kept."""
    if FRAMEWORK not in values_of(config, "exp.framework"):
        return
    given = config.given_names()
    slug = f"$(re.sub('[^A-Za-z0-9._-]+', '-', '${{command.argv}}')[:{_NAME}])$"
    parameters: dict[str, Any] = {
        "exp.num_batches": 10,
        "exp.num_warmup_batches": 1,
        "exp.docker": "exp.docker_image" in given,  # commands run on this machine, unless an image is named
        "exp.log_file": f"${{exp.log_dir}}/command_{slug}_${{exp.id}}.log",
    }
    parameters["runtime.malloc"] = "system"  # a program's memory management is part of the measurement
    if "exp.num_batches" not in given:
        parameters["command.min_seconds"] = 3
    if len(lines := values_of(config, "command.argv")) == 1 and "command.argv" in given:
        words = shlex.split(lines[0]) if isinstance(lines[0], str) else lines[0]
        parameters["command.line"] = _line(_REFERENCE.sub(r"{\1}", text(word)) for word in words)
    left = {name: value for name, value in parameters.items() if name not in given}
    where = config.settings["exp.framework"].where if "exp.framework" in config.settings else "exp.framework"
    config.extensions.insert(0, Extension({"exp.framework": FRAMEWORK}, left, [], where))
