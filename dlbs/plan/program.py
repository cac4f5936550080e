"""Compile one shape of experiment into one Python function.

In a plan most parameters never change; a few vary, and the others are computed from them. A `Program` is made for
experiments that agree in all raw values but those of the varying names. Whatever depends on agreed values only is computed
once, when the program is made. The rest becomes one function over local variables; values that depend on some of the
varying names only are remembered by those. `matches` is what makes this safe: it compares every agreed value.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_, itemgetter
from typing import Any

from dlbs.experiment import Experiment
from dlbs.plan.program_source import ProgramSource
from dlbs.plan.trace import Trace, Tracer

__all__ = ["Program"]


class Program:
    """A compiled shape.

    Attributes:
        example: An experiment of this shape.
        size: Number of parameters.
        agreed: Names whose raw values all experiments of this shape share.
        varying: The other names, whose values are plain.
        run: The function: experiment of this shape → final values.
    """

    def __init__(
        self, experiment: Experiment, varying: frozenset[str], run: Callable[[Experiment], Experiment]
    ) -> None:
        self.example = dict(experiment)
        self.size = len(experiment)
        self.varying = varying
        self.agreed = [name for name in experiment if name not in varying]
        self.run = run
        # 1 == 1.0 == True, also inside lists: what is not a text needs a second look when it compares equal.
        unclear = [name for name in self.agreed if experiment[name].__class__ is not str]
        self._values, self._unclear = _getter(self.agreed), _getter(unclear)
        self._agreed_values = self._values(experiment)
        self._agreed_unclear = self._unclear(experiment)
        self._agreed_reprs = repr(self._agreed_unclear)

    def matches(self, experiment: Experiment) -> bool:
        """Whether an experiment agrees in the values that this program relies on.

        Raises:
            KeyError: It has other names.
        """
        if len(experiment) != self.size or self._values(experiment) != self._agreed_values:
            return False
        unclear = self._unclear(experiment)
        # From one builder they are the same objects; from a file they are not.
        return all(map(is_, unclear, self._agreed_unclear)) or repr(unclear) == self._agreed_reprs

    def differences(self, experiment: Experiment) -> set[str]:
        """The agreed names in which an experiment differs."""
        return {name for name in self.agreed if not _same(experiment[name], self.example[name])}

    def covers(self, other: Program) -> bool:
        """Whether each experiment that fits the other program fits this one too."""
        return other.varying <= self.varying and other.differences(self.example) <= self.varying

    @classmethod
    def compile(
        cls, tracer: Tracer, experiment: Experiment, trace: Trace, varying: set[str], fastest: set[str]
    ) -> Program:
        """Compile the shape of an experiment.

        Args:
            tracer: Gives the templates and checks the values.
            experiment: An example of the shape.
            trace: The example, resolved.
            varying: Names of plain parameters that may differ.
            fastest: Those of them that differ between neighbours; what depends on the others only is kept between calls.
        """
        source = ProgramSource(tracer, experiment, trace, varying, fastest)
        return cls(experiment, frozenset(source.varying), source.function())


def _same(a: Any, b: Any) -> bool:
    return a is b or (a.__class__ is b.__class__ and repr(a) == repr(b))


def _getter(names: list[str]) -> Callable[[Experiment], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda experiment: tuple(experiment[name] for name in names)
