"""Resolve experiments: make the value of every parameter final, typed and checked.

Two implementations give the same result. A `Tracer` resolves one experiment value by value and records the origin of each value, for
errors and `dlbs explain`. A `Processor` exploits that the experiments of a plan have few shapes, and compiles each shape
into one function (`compile.py`). Tests compare the two; docs/engine.md shows such a function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from dlbs.config.declarations import Parameter
from dlbs.errors import DlbsError
from dlbs.experiment import Experiment
from dlbs.language.meter import BackstopError
from dlbs.language.template import is_template
from dlbs.plan.compile import FunctionWriter, ShapeMismatchError
from dlbs.plan.shape import MAX_REMEMBERED, Memory, Shape, value_key
from dlbs.plan.trace import EVALUATION_ERRORS, Trace, Tracer

__all__ = ["Processor"]

_MAX_SHAPES = 64  # per set of names; beyond that, compiling costs more than it saves
_SAMPLE = 200  # experiments that determine what varies in random order


@dataclass(slots=True)
class _SameNames:
    """The state for experiments with the same set of names."""

    example: Experiment  # the latest with a new shape
    varying: set[str]  # names whose raw values differ
    fastest: Set[str] = frozenset()  # those that differ between adjacent experiments; empty until there are two
    shapes: list[Shape] = field(default_factory=list)  # most recent first


class Processor:
    """Resolver of the experiments of a plan.

    Args:
        declarations: Name → declaration; parameters without one keep the type of their value.
        environ: Environment variables that references and `env()` may read; a snapshot of `os.environ` by default.
        varying: Names known to differ between experiments; others are detected.

    Attributes:
        tracer: Resolves single experiments, and records the origin of values.
        last: The shape of the previous experiment, most likely that of the next.
        memory: Results of `outer`, by the values that do not change fastest; of bounded size.
    """

    def __init__(
        self,
        declarations: Mapping[str, Parameter] | None = None,
        environ: Mapping[str, str] | None = None,
        varying: Iterable[str] = (),
    ) -> None:
        self.tracer = Tracer(declarations, environ)
        self.last: Shape | None = None
        self._varying = frozenset(varying)
        self._fastest: Set[str] = frozenset()
        self._known: dict[tuple[str, ...], _SameNames] = {}
        self.memory: Memory = {}

    def expect_random_order(self, experiments: Sequence[Experiment]) -> None:
        """Prepare for experiments in random order, in which adjacent ones do not show which results to cache.

        The names with the most values count as the fastest, so that the combinations of the others fit into the cache and recur.
        """
        values: dict[str, set[object]] = {}
        for experiment in experiments[:_SAMPLE]:
            for name, value in experiment.items():
                values.setdefault(name, set()).add(value_key(value))
        varying = sorted((name for name in values if len(values[name]) > 1), key=lambda name: len(values[name]))
        combinations, slow = 1, set()
        for name in varying:
            combinations *= len(values[name])
            if combinations <= min(MAX_REMEMBERED, len(experiments) // 2):
                slow.add(name)
        self._varying = self._varying.union(varying)
        self._fastest = self._varying - slow

    def resolve(self, experiment: Experiment) -> Experiment:
        """Return the experiment with final values, without hidden parameters (`__...`).

        Lists and dicts in the result may be shared between experiments: do not change them in place.

        Raises:
            DlbsError: A value cannot be resolved; the message contains the chain of parameters.
        """
        shape = self.last
        if shape is None or not shape.fits(experiment):
            shape = self._shape_of(experiment)
        tried: tuple[Shape, ...] = ()
        while shape is not None:
            try:
                return shape.resolve(experiment)
            except (ShapeMismatchError, DlbsError, *EVALUATION_ERRORS) as error:
                if not isinstance(error, ShapeMismatchError) and shape.varying <= experiment.keys():
                    return self._explained(experiment, error)
                tried = (*tried, shape)
                shape = self._shape_of(experiment, tried)
        return self._resolve_new_shape(experiment)

    def resolve_all(self, experiments: Iterable[Experiment]) -> Iterator[Experiment]:
        """Resolve a stream of experiments, one at a time."""
        return map(self.resolve, experiments)

    def resolve_uncached(self, experiment: Experiment) -> Experiment:
        """Like `resolve`, but value by value and without shapes."""
        return _visible(experiment, self.tracer.trace(experiment))

    def _shape_of(self, experiment: Experiment, tried: Sequence[Shape] = ()) -> Shape | None:
        """The known shape of an experiment, moved to the front, since the next one probably has it too."""
        known = self._known.get(tuple(experiment))
        shapes = known.shapes if known is not None else []
        self.last = next((shape for shape in shapes if shape not in tried and shape.fits(experiment)), None)
        return self.last

    def _resolve_new_shape(self, experiment: Experiment) -> Experiment:
        """Resolve an experiment without a known shape, and create the shape."""
        trace = self.tracer.trace(experiment)
        names = tuple(experiment)
        known = self._known.get(names)
        if known is None:  # compiling for a single experiment is not worthwhile
            self._known[names] = _SameNames(experiment, set(self._varying.intersection(names)))
        elif len(known.shapes) < _MAX_SHAPES:
            differing = {name for name in names if value_key(experiment[name]) != value_key(known.example[name])}
            known.example = experiment
            known.varying |= differing
            known.fastest = known.fastest or self._fastest or differing
            plain = {name for name in known.varying if not is_template(experiment[name])}
            writer = FunctionWriter(self.tracer, experiment, trace, plain, known.fastest)
            shape = self.last = Shape(writer, self.memory)
            known.shapes = [shape, *(other for other in known.shapes if not shape.covers(other))]
        return _visible(experiment, trace)

    def _explained(self, experiment: Experiment, error: Exception) -> Experiment:
        """Raise the error again with the chain of parameters.

        Raises:
            DlbsError: The error of the experiment.
            RuntimeError: Resolving value by value succeeds: the compiled function is wrong, which must not be hidden.
        """
        resolved = self.resolve_uncached(experiment)
        if isinstance(error, BackstopError):  # depends on time and memory, which may suffice now
            return resolved
        raise RuntimeError("a compiled shape fails on an experiment that can be resolved value by value") from error


def _visible(experiment: Experiment, trace: Trace) -> Experiment:
    return {name: trace.values[name] for name in experiment if not name.startswith("__")}
