"""The noun: an experiment is a flat dictionary of parameters; what they may be called, how it is described, where its log is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dlbs.errors import ConfigError
from dlbs.text import printable, text

__all__ = ["HIDDEN", "Experiment", "check_name", "check_plan_names", "describe", "log_path"]

Experiment = dict[str, Any]

# Parameters that need no name, and what is said instead.
_SPOKEN = {
    **dict.fromkeys(("exp.model", "exp.phase", "exp.dtype", "exp.device_type"), ""),
    "exp.replica_batch": "batch ",
    "exp.repeat": "repeat ",
}
_LONGEST_VALUE = 60  # characters
HIDDEN = "__condition."  # how the plan builder calls the groups of conditions; never part of a resolved experiment
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


def check_name(name: object, where: str) -> None:
    """Raise a ConfigError unless a text can be the name of a parameter.

    This is the only pattern. Names stand in logs, in scripts and in the options of programs: whatever makes experiments out of
    something from outside checks them.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("__"):
        raise ConfigError(
            f"{name!r} is not a parameter name",
            where=where,
            hint="names are letters, digits, _ and -, in parts joined by dots, and do not begin with __",
        )


def check_plan_names(names: Iterable[object], where: str) -> None:
    """The same for an experiment of a written plan, which may have hidden parameters of the plan builder."""
    for name in names:
        check_name(name.removeprefix(HIDDEN) if isinstance(name, str) else name, where)


def log_path(experiment: Experiment, directory: Path) -> Path:
    """The log file of an experiment that runs in `directory`.

    Raises:
        ConfigError: The experiment does not name one, or not one that can exist.
    """
    name = text(experiment.get("exp.log_file"))
    if not name:
        raise ConfigError("exp.log_file is empty", hint="set exp.log_file")
    if "\0" in name:
        raise ConfigError("exp.log_file has a NUL character, which no file name can have", hint="remove it")
    return directory / name


def describe(experiment: Experiment, names: Sequence[str] = ()) -> str:
    """One experiment in a few words: `resnet18, batch 4, runtime.malloc=system`.

    Args:
        experiment: Its parameters.
        names: Those that tell it from the others; the usual ones if it has none of these.
    """
    shown = [name for name in names if name in experiment]
    if not shown:
        shown = [name for name in _SPOKEN if experiment.get(name) not in (None, "")]
        if experiment.get("exp.repeats", 1) == 1:
            shown = [name for name in shown if name != "exp.repeat"]
    return printable(", ".join(_words(name, text(experiment[name])) for name in shown).replace("\n", "?"))


def _words(name: str, value: str) -> str:
    if name in _SPOKEN and value:
        return _SPOKEN[name] + value
    return f"{name}={textwrap.shorten(value, _LONGEST_VALUE, placeholder='…') if value else 'none'}"
