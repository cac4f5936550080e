"""The files that a plan will write: its logs, and beside them the plan file with their names and the parameters that differ."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dlbs.core.errors import LogError
from dlbs.core.experiment import Experiment, log_path
from dlbs.core.files import JsonError, load_json, read_regular, write_atomically
from dlbs.core.text import text

PLAN_NAME = ".dlbs.plan"
_LARGEST = 256 << 20  # bytes: a million logs with long names


class Differences:
    """Find the parameters that differ in one pass, with memory for one value per parameter.

    Args:
        unlabelled: Parameters that do not identify an experiment or repeat other parameters.
    """

    def __init__(self, unlabelled: Set[str] = frozenset()) -> None:
        self._unlabelled = unlabelled
        self._first: dict[str, Any] = {}
        self._names: dict[Any, Set[str]] = {}  # framework → its parameters
        self._differ: set[str] = set()

    def add(self, experiment: Experiment) -> None:
        """Add an experiment."""
        for name, value in experiment.items():
            if name not in self._differ and self._first.setdefault(name, value) != value:
                self._differ.add(name)
        # Experiments of another framework have different parameters; the name of the framework implies that.
        names = self._names.setdefault(experiment.get("exp.framework"), frozenset(experiment))
        if names != experiment.keys():
            self._differ |= names ^ experiment.keys()

    def __contains__(self, name: object) -> bool:
        """Whether a parameter differs, labelled or not."""
        return name in self._differ

    @property
    def names(self) -> list[str]:
        """The parameters that differ, in the order of the configuration, the repeat number last."""
        names = [name for name in self._first if name in self._differ and name not in self._unlabelled]
        return sorted(names, key=lambda name: name == "exp.repeat")


@dataclass
class Manifest:
    """The logs that a plan will write.

    Attributes:
        count: Number of experiments.
        directories: Absolute log directories of experiments that have to run.
        packs: Directories whose code runs.
        on_bare_metal: Whether any runs outside containers.
        images: Container images of the rest, in the plan's order.
        gpus: The different values of exp.gpus.
        unbound: Number of experiments without GPUs that request no CPUs.
        differences: Parameters that differ between the experiments.
        repeats: Whether this repeats a part of earlier plans, whose plan files stay as they are.
        logs: Paths of the logs of experiments that are not inactive.
        final: Paths of the logs whose failures are final: their experiments are not run again.
    """

    differences: Differences = field(default_factory=Differences)
    count: int = 0
    directories: set[Path] = field(default_factory=set)
    packs: set[str] = field(default_factory=set)
    on_bare_metal: bool = False
    images: dict[str, None] = field(default_factory=dict)
    gpus: set[str] = field(default_factory=set)
    unbound: int = 0
    repeats: bool = False
    final: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    def add(self, experiment: Experiment) -> None:
        """Add an experiment."""
        self.count += 1
        self.differences.add(experiment)
        self.on_bare_metal |= experiment.get("exp.docker") is False
        self.gpus.add(text(experiment.get("exp.gpus")))
        self.unbound += not (experiment.get("exp.gpus") or experiment.get("runtime.cpus"))
        if experiment.get("exp.docker"):
            from dlbs.launch.containers import image_of  # here: reading results needs this module, and no launchers

            self.images[image_of(experiment)] = None
        if experiment.get("exp.status") not in {"inactive", "simulate"}:
            log = log_path(experiment, Path()).absolute()
            self.directories.add(log.parent)
            if pack := text(experiment.get("pack.dir")):
                self.packs.add(pack)
            self.logs.append(str(log))
            if experiment.get("exp.rerun") not in {"always", "onfail", "changed"}:
                self.final.append(self.logs[-1])

    def write(self) -> None:
        """Write a plan file into each log directory, from which `dlbs status` derives remaining work and results get their order.

        Raises:
            ConfigError: A plan file cannot be written.
        """
        by_directory: dict[str, list[str]] = {}
        places: dict[str, str] = {}  # the same directory may have several paths
        for log in self.logs:
            parent, name = os.path.split(log)
            if parent not in places:
                places[parent] = os.path.realpath(parent)
            by_directory.setdefault(places[parent], []).append(name)
        for place, names in by_directory.items():
            directory = Path(place)
            if self.repeats and os.path.lexists(directory / PLAN_NAME):
                continue
            write_plan_file(directory, self.differences.names, names)


class PlanFile(NamedTuple):
    """The content of the plan file of the last run in a directory.

    Attributes:
        differing: The parameters that differ, in the configuration's order.
        logs: Names of log files, in the plan's order.
    """

    differing: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


def read_plan_file(directory: Path) -> PlanFile:
    """The plan file of a log directory; an empty one if missing.

    Raises:
        LogError: It is not a regular file, is too large, or is not UTF-8.
    """
    path = directory / PLAN_NAME
    try:
        return parse_plan_file(read_regular(path, _LARGEST))
    except FileNotFoundError:
        return PlanFile()
    except UnicodeDecodeError:
        raise LogError("is not UTF-8, so it is not a plan file", where=str(path), hint="remove it") from None


def parse_plan_file(content: bytes) -> PlanFile:
    """Parse a plan file. Invalid lines are ignored, names with a directory included: they would lead elsewhere.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    differing: tuple[str, ...] = ()
    logs = []
    for number, line in enumerate(content.decode().splitlines()):
        try:
            value = load_json(line)
        except JsonError:
            continue
        if number == 0 and isinstance(value, list):
            differing = tuple(name for name in value if isinstance(name, str))
        elif isinstance(value, str) and value == Path(value).name and not value.startswith(".dlbs."):
            logs.append(_file_name(line) if "\N{REPLACEMENT CHARACTER}" in value else value)
    return PlanFile(differing, tuple(dict.fromkeys(logs)))


def write_plan_file(directory: Path, differing: Sequence[str], logs: Iterable[str]) -> None:
    """Write the plan file of a log directory: JSON lines, the names of the parameters on the first line.

    Raises:
        ConfigError: It cannot be written.
    """
    with write_atomically(directory / PLAN_NAME, follow=False, sync=False) as stream:
        stream.write(json.dumps(list(differing)) + "\n")
        stream.writelines(json.dumps(name) + "\n" for name in logs)


def _file_name(line: str) -> str:
    """The file name in a line; bytes that are not UTF-8 are surrogates in it, as `os.listdir` returns them."""
    name = json.loads(line)
    assert isinstance(name, str)
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "replace").decode()
    return name
