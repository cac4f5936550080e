"""Find the parameters that differ between the experiments of a plan, for their labels."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from dlbs.experiment import Experiment

__all__ = ["Differences"]


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
