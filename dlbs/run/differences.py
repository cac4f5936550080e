"""Which parameters differ between the experiments of a plan: those that labels show."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from dlbs.experiment import Experiment

__all__ = ["Differences"]


class Differences:
    """Finds the parameters that differ in one pass, and keeps one value of each parameter, however long the plan is.

    Args:
        unlabelled: Parameters that say nothing of what an experiment is, or only what others say already.
    """

    def __init__(self, unlabelled: Set[str] = frozenset()) -> None:
        self._unlabelled = unlabelled
        self._first: dict[str, Any] = {}
        self._names: dict[Any, Set[str]] = {}  # framework → its parameters
        self._differ: set[str] = set()

    def add(self, experiment: Experiment) -> None:
        """Take an experiment into account."""
        for name, value in experiment.items():
            if name not in self._differ and self._first.setdefault(name, value) != value:
                self._differ.add(name)
        # Experiments of another framework have other parameters; that says no more than the framework's name.
        names = self._names.setdefault(experiment.get("exp.framework"), frozenset(experiment))
        if names != experiment.keys():
            self._differ |= names ^ experiment.keys()

    @property
    def names(self) -> list[str]:
        """The parameters that differ, in the order of the configuration, the number of the repeat last."""
        names = [name for name in self._first if name in self._differ and name not in self._unlabelled]
        return sorted(names, key=lambda name: name == "exp.repeat")
