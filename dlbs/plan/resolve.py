"""Resolve experiments: make the value of every parameter final, typed and checked.

There are two ways to the same result. A `Tracer` walks one experiment, value by value, and knows why each value is what it is;
errors and `dlbs explain` come from it. A `Processor` sees that the experiments of a plan have few shapes, and compiles each shape
into one function (`compile.py`). The tests hold the two against each other; docs/engine.md shows such a function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dlbs.config.declarations import Parameter
from dlbs.errors import DlbsError
from dlbs.experiment import Experiment
from dlbs.language.limits import BackstopError
from dlbs.language.template import is_template
from dlbs.plan.compile import Shape, ShapeMismatchError
from dlbs.plan.trace import EVALUATION_ERRORS, Trace, Tracer

__all__ = ["Processor", "source_of_function"]

_MAX_SHAPES = 64  # of one set of names; beyond that compiling costs more than it saves


@dataclass(slots=True)
class _SameNames:
    """What is known about the experiments that have the same names.

    Attributes:
        first: The first of them: the second one shows what changes fastest.
        varying: Names whose raw values differ.
        fastest: Those that differ between neighbours.
        shapes: The latest first.
    """

    first: Experiment
    varying: set[str]
    fastest: set[str] = field(default_factory=set)
    shapes: list[Shape] = field(default_factory=list)


class Processor:
    """Resolves the experiments of a plan.

    Args:
        declarations: Name → declaration; parameters without one keep the type that their value has.
        environ: Environment variables that references and `env()` may read; a snapshot of `os.environ` by default.
        varying: Names known to differ between the experiments to come; the others are found out on the way.

    Attributes:
        tracer: Resolves single experiments, and tells why.
        last: The shape of the experiment before, most likely that of the next.
    """

    def __init__(
        self,
        declarations: Mapping[str, Parameter] | None = None,
        environ: Mapping[str, str] | None = None,
        varying: Iterable[str] = (),
    ) -> None:
        self.tracer = Tracer(declarations, environ)
        self.last: Shape | None = None
        self._hints = frozenset(varying)
        self._known: dict[tuple[str, ...], _SameNames] = {}

    def resolve(self, experiment: Experiment) -> Experiment:
        """Return the experiment with final values; hidden parameters (`__...`) are left out.

        Lists and dicts in the result may be shared between experiments: do not change them in place.

        Raises:
            DlbsError: A value cannot be resolved; the message has the chain of parameters that led there.
        """
        shape = self.last
        if shape is not None:
            try:
                if shape.fits(experiment):
                    return shape.resolve(experiment)
            except (KeyError, ShapeMismatchError):  # other names, another shape: found below
                pass
            except (DlbsError, *EVALUATION_ERRORS) as error:
                return self._explained(experiment, error)
        return self._resolve(experiment)

    def resolve_all(self, experiments: Iterable[Experiment]) -> Iterator[Experiment]:
        """Resolve a stream of experiments, one at a time."""
        return map(self.resolve, experiments)

    def resolve_uncached(self, experiment: Experiment) -> Experiment:
        """Like `resolve`, one value at a time and without remembering shapes."""
        return _visible(experiment, self.tracer.trace(experiment))

    def _resolve(self, experiment: Experiment) -> Experiment:
        """Find the shape of an experiment, or make one."""
        names = tuple(experiment)
        known = self._known.get(names)
        if known is None:  # one experiment alone is not worth compiling
            self._known[names] = _SameNames(experiment, {name for name in self._hints if name in experiment})
            return self.resolve_uncached(experiment)
        for shape in known.shapes:
            if shape.fits(experiment):
                try:
                    resolved = shape.resolve(experiment)
                except ShapeMismatchError:
                    continue
                except (DlbsError, *EVALUATION_ERRORS) as error:
                    return self._explained(experiment, error)
                self.last = shape
                return resolved
        if len(known.shapes) >= _MAX_SHAPES:
            return self.resolve_uncached(experiment)
        return self._resolve_new_shape(known, experiment)

    def _resolve_new_shape(self, known: _SameNames, experiment: Experiment) -> Experiment:
        trace = self.tracer.trace(experiment)
        if known.shapes:
            known.varying |= known.shapes[0].differences(experiment)
        plain = {name for name in known.varying if not is_template(experiment[name])}
        if not known.shapes:
            known.fastest = {name for name in plain if experiment[name] is not known.first[name]}
        shape = self.last = Shape(self.tracer, experiment, trace, plain, known.fastest)
        known.shapes = [shape, *(other for other in known.shapes if not shape.covers(other))]
        return _visible(experiment, trace)

    def _explained(self, experiment: Experiment, error: Exception) -> Experiment:
        """Raise the error again with the chain of parameters that led there.

        Raises:
            DlbsError: The error of the experiment.
            RuntimeError: Value by value there is no error: the compiled function is wrong, which must not be hidden.
        """
        resolved = self.resolve_uncached(experiment)
        if isinstance(error, BackstopError):  # a matter of time and memory, which may be there now
            return resolved
        raise RuntimeError("the function of a shape fails on an experiment that resolves value by value") from error


def source_of_function(
    experiments: Iterable[Experiment],
    declarations: Mapping[str, Parameter] | None = None,
    varying: Iterable[str] = (),
) -> str:
    """The Python text of the function that the experiments are resolved with, for people to read."""
    processor = Processor(declarations, environ={}, varying=varying)
    for experiment in experiments:
        processor.resolve(experiment)
    return processor.last.source if processor.last is not None else ""


def _visible(experiment: Experiment, trace: Trace) -> Experiment:
    return {name: trace.values[name] for name in experiment if not name.startswith("__")}
