"""The noun: an experiment is a flat dictionary of parameters; how it is described, and where its log is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlbs.text import printable, text

__all__ = ["Experiment", "describe", "log_path"]

Experiment = dict[str, Any]


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
