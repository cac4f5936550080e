"""The logs that a plan will write, counted and collected before it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from dlbs.experiment import Experiment, log_path
from dlbs.launch.container import image_of
from dlbs.run.differences import Differences
from dlbs.run.planfile import PLAN_NAME, write_plan_file
from dlbs.text import text

__all__ = ["Manifest"]


@dataclass(slots=True)
class Manifest:
    """The logs that a plan will write.

    Attributes:
        count: Number of experiments.
        directories: Absolute log directories of experiments that have to run.
        on_bare_metal: Whether any runs outside containers.
        images: Container images of the rest, in the plan's order.
        gpus: The different values of exp.gpus.
        differences: Parameters that differ between the experiments.
        repeats: Whether this repeats a part of earlier plans, whose plan files stay as they are.
        final: Paths of the logs whose failures are final: their experiments are not run again.
    """

    differences: Differences = field(default_factory=Differences)
    count: int = 0
    directories: set[Path] = field(default_factory=set)
    on_bare_metal: bool = False
    images: dict[str, None] = field(default_factory=dict)
    gpus: set[str] = field(default_factory=set)
    repeats: bool = False
    final: list[str] = field(default_factory=list)
    _logs: list[str] = field(default_factory=list)

    def add(self, experiment: Experiment) -> None:
        """Add an experiment."""
        self.count += 1
        self.differences.add(experiment)
        self.on_bare_metal |= experiment.get("exp.docker") is False
        self.gpus.add(text(experiment.get("exp.gpus")))
        if experiment.get("exp.docker"):
            self.images[image_of(experiment)] = None
        if experiment.get("exp.status") not in {"inactive", "simulate"}:
            log = log_path(experiment, Path()).absolute()
            self.directories.add(log.parent)
            self._logs.append(str(log))
            if experiment.get("exp.rerun") not in {"always", "onfail"}:
                self.final.append(self._logs[-1])

    def write(self) -> None:
        """Write a plan file into each log directory, from which `dlbs status` derives remaining work and results get their order.

        Raises:
            ConfigError: A plan file cannot be written.
        """
        by_directory: dict[str, list[str]] = {}
        places: dict[str, str] = {}  # the same directory may have several paths
        for log in self._logs:
            parent, name = os.path.split(log)
            if parent not in places:
                places[parent] = os.path.realpath(parent)
            by_directory.setdefault(places[parent], []).append(name)
        for place, names in by_directory.items():
            directory = Path(place)
            if self.repeats and os.path.lexists(directory / PLAN_NAME):
                continue
            write_plan_file(directory, self.differences.names, names)
