"""The noun: an experiment is a flat dictionary of parameters; what they may be called, how it is described, where its log is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlbs.errors import ConfigError
from dlbs.text import printable, text

__all__ = ["HIDDEN", "Experiment", "check_name", "check_plan_names", "describe", "log_path"]

Experiment = dict[str, Any]

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
    """The log file of an experiment that runs in `directory`."""
    return directory / str(experiment["exp.log_file"])


def describe(experiment: Experiment) -> str:
    """One experiment in a few words."""
    names = ("exp.model", "exp.phase", "exp.dtype", "exp.device_type")
    words = [text(experiment[name]) for name in names if experiment.get(name)]
    if "exp.replica_batch" in experiment:
        words.append(f"batch {text(experiment['exp.replica_batch'])}")
    if experiment.get("exp.repeats", 1) != 1:
        words.append(f"repeat {text(experiment.get('exp.repeat'))}")
    return printable(" ".join(words).replace("\n", "?"))
