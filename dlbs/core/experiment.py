"""An experiment, a flat dictionary of parameters: valid names, its label, and the path of its log."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.text import printable
from dlbs.core.errors import ConfigError
from dlbs.core.text import text

Experiment = dict[str, Any]

TITLES = ("exp.model", "command.line", "exp.framework")  # the most specific names of the measured software
# Parameters whose name is omitted in labels → the prefix of their value.
_SPOKEN = {
    **dict.fromkeys((*TITLES, "exp.phase", "exp.dtype", "exp.device_type"), ""),
    "exp.replica_batch": "batch ",
    "exp.repeat": "repeat ",
}
_USUAL = ("exp.phase", "exp.dtype", "exp.device_type", "exp.replica_batch")
USUAL_READS = (*TITLES, *_USUAL, "pack.own_batch")  # what `usual_names` looks at
_LONGEST_VALUE = 60  # characters
_LONGEST_WORD = 200  # characters of a model's or framework's name
HIDDEN = "__condition."  # prefix of the plan builder's names for groups of conditions; never in a resolved experiment
_OWN = re.compile(rf"({re.escape(HIDDEN)})--\w+\.")
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


def check_name(name: object, where: str) -> None:
    """Raise a ConfigError unless a string is a valid parameter name.

    This is the only pattern. Names are written to logs, scripts and options of programs, so all code that makes experiments from
    external data checks them.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("__"):
        raise ConfigError(
            f"{name!r} is not a parameter name",
            where=where,
            hint="names are letters, digits, _ and -, in parts joined by dots, and do not begin with __",
        )


def hidden_prefix(number: int) -> str:
    """The prefix of the names for groups of extension `number`, distinct from those of others: `__condition.--8.`"""
    return f"{HIDDEN}--{number}."


def as_written(words: str) -> str:
    """The text with groups of conditions named as in the configuration: `${__condition.exp.model_1}`."""
    return _OWN.sub(r"\1", words)


def check_plan_names(names: Iterable[object], where: str) -> None:
    """Check the names in an experiment of a plan file, which may have hidden parameters of the plan builder."""
    for name in names:
        check_name(name.removeprefix(HIDDEN) if isinstance(name, str) else name, where)


def log_path(experiment: Experiment, directory: Path) -> Path:
    """The log file of an experiment that runs in `directory`.

    Raises:
        ConfigError: The experiment names no file, or an impossible one.
    """
    name = text(experiment.get("exp.log_file"))
    if not name:
        raise ConfigError("exp.log_file is empty", hint="set exp.log_file")
    if experiment.get("exp.log_dir") == "" and name.startswith("/"):
        raise ConfigError("exp.log_dir is empty", hint="set exp.log_dir, . is the current directory")
    if "\0" in name:
        raise ConfigError("exp.log_file contains a NUL character, which is not allowed in file names", hint="remove it")
    return _joined(directory, name)


@lru_cache(maxsize=64)
def _joined(directory: Path, name: str) -> Path:
    """Join a path; cached, because the log of the current experiment is needed many times, and making a path takes 10 µs."""
    return directory / name


def describe(experiment: Mapping[str, Any], names: Sequence[str] = (), *, whole: bool = False) -> str:
    """The label of an experiment: `resnet18, batch 4, runtime.malloc=system`, or `sort --parallel 2 data, repeat 1`.

    All labels are made by this function.

    Args:
        experiment: Its parameters.
        names: Parameters that distinguish it; the usual ones if it has none of these.
        whole: Make different experiments have different labels: shorten no value, write `none` for missing parameters, and include a
            command only if it is among the names.
    """
    if whole:
        shown = told_names(experiment, names)
    else:
        shown = [name for name in names if name in experiment]
    argv = experiment.get("command.argv")
    command = shlex.join(map(text, argv)) if isinstance(argv, list) and not whole else ""
    if not shown and not command:
        shown = usual_names(experiment)
        if experiment.get("exp.repeats", 1) != 1 and _has(experiment, "exp.repeat"):
            shown.append("exp.repeat")
    words = []
    if command:
        line = text(experiment.get("command.line"))
        inside = {"command.argv", *(name for name in shown if f"{{{name}}}" in line)}
        shown = [name for name in shown if name not in inside]
        words.append(_shortened(command, _LONGEST_VALUE))
    longest = None if whole else _LONGEST_VALUE
    words += [_words(name, text(experiment.get(name)), longest) for name in shown]
    return printable(", ".join(words).replace("\n", "?"))


def told_names(experiment: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The given parameters that a complete label of an experiment contains."""
    return [name for name in names if name not in _SPOKEN or _has(experiment, name)]


def usual_names(experiment: Mapping[str, Any]) -> list[str]:
    """The parameters of an experiment's default label: the measured software, then phase, type, device and batch size."""
    title = [name for name in TITLES if _has(experiment, name)][:1]
    # A batch size that the model chooses itself is unknown before the run.
    unknown = {"exp.replica_batch"} if experiment.get("pack.own_batch") is True else set()
    return [*title, *(name for name in _USUAL if _has(experiment, name) and name not in unknown)]


def _has(experiment: Mapping[str, Any], name: str) -> bool:
    return experiment.get(name) not in (None, "")


def _shortened(words: str, longest: int) -> str:
    from textwrap import shorten

    return shorten(words, longest, placeholder="…")


def _words(name: str, value: str, longest: int | None) -> str:
    if name in _SPOKEN and value:
        return _SPOKEN[name] + (
            value if longest is None or len(value) <= _LONGEST_WORD else f"{value[:_LONGEST_WORD]}…"
        )
    if longest is not None:
        value = " ".join(value.split())
        if len(value) > longest:
            value = _shortened(value, longest)
    return f"{name}={value or 'none'}"


FRAMEWORK = "{framework}"


class Problem(NamedTuple):
    """The reason that an experiment would fail, and the fix."""

    what: str
    hint: str = ""


class Site(NamedTuple):
    """The place where a plan is checked.

    Attributes:
        directory: Where experiments run and relative paths begin.
        may_run: Whether programs that the plan names may be started. True only if the plan is about to run: inspecting
            an untrusted plan must not start anything.
        nodes: Hosts that may be contacted even if the plan is only inspected, because the user typed them.
    """

    directory: Path
    may_run: bool = False
    nodes: Set[str] = frozenset()


class Check(NamedTuple):
    """A check that is made before a plan runs.

    Attributes:
        reads: Parameters that it depends on; it runs once for each combination of their values. `FRAMEWORK` in a name is the
            experiment's framework.
        find: Returns the problem, or None.
    """

    reads: tuple[str, ...]
    find: Callable[[Experiment, Site], Problem | None]


def _not_serving(experiment: Experiment, site: Site) -> Problem | None:
    if text(experiment.get("exp.phase")) != "serving":
        return None
    name = text(experiment.get("exp.pack")) or text(experiment.get("exp.framework"))
    return Problem(f"{name} does not support the phase serving", "set exp.framework=pytorch, or another exp.phase")


NOT_SERVING = Check(("exp.phase", "exp.framework", "exp.pack"), _not_serving)
