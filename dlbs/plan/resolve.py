"""Resolve experiments: make the value of every parameter final, typed and checked.

There are two ways to the same result. A `Tracer` walks one experiment, value by value, and knows why each value is what it is;
errors and `dlbs explain` come from it. A `Processor` sees that the experiments of a plan have few shapes, and compiles each shape
into one function (`program.py`). The tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dlbs.config.declarations import Parameter
from dlbs.experiment import Experiment
from dlbs.language.template import is_template
from dlbs.plan.program import Program
from dlbs.plan.program_source import ShapeMismatchError
from dlbs.plan.trace import Trace, Tracer

__all__ = ["Processor"]

_MAX_PROGRAMS = 64  # shapes of one set of names; beyond that compiling costs more than it saves


class Processor:
    """Resolves the experiments of a plan.

    Args:
        declarations: Name → declaration; parameters without one keep the type that their value has.
        environ: Environment variables that references and `env()` may read; a snapshot of `os.environ` by default.
        varying: Names known to differ between the experiments to come; the others are found out on the way.

    Attributes:
        tracer: Resolves single experiments, and tells why.
    """

    def __init__(
        self,
        declarations: Mapping[str, Parameter] | None = None,
        environ: Mapping[str, str] | None = None,
        varying: Iterable[str] = (),
    ) -> None:
        self.tracer = Tracer(declarations, environ)
        self._hints = frozenset(varying)
        self._programs: dict[tuple[str, ...], list[Program]] = {}
        self._last: Program | None = None  # the program of the experiment before, most likely that of the next
        self._previous: Experiment = {}  # the first experiment: the next one shows what changes fastest
        self._varying: dict[tuple[str, ...], set[str]] = {}

    def resolve(self, experiment: Experiment) -> Experiment:
        """Return the experiment with final values; hidden parameters (`__...`) are left out.

        Lists and dicts in the result may be shared between experiments: do not change them in place.

        Raises:
            DlbsError: A value cannot be resolved; the message has the chain of parameters that led there.
        """
        program = self._last
        if program is not None:
            try:
                if program.matches(experiment):
                    return program.run(experiment)
            except Exception:  # other names, another shape, or an error that the slow way explains
                return self._resolve(experiment)
        return self._resolve(experiment)

    def _resolve(self, experiment: Experiment) -> Experiment:
        """Find the program of an experiment, or make one."""
        names = tuple(experiment)
        programs = self._programs.get(names)
        if programs is None:
            # One experiment alone is not worth compiling.
            self._programs[names] = []
            self._varying[names] = {name for name in self._hints if name in experiment}
            self._previous = experiment
            return self.resolve_uncached(experiment)
        for program in programs:
            if program.matches(experiment):
                try:
                    resolved = program.run(experiment)
                except ShapeMismatchError:
                    continue
                except Exception:  # the slow way says what and where, or knows better
                    return self.resolve_uncached(experiment)
                self._last = program
                return resolved
        if len(programs) >= _MAX_PROGRAMS:
            return self.resolve_uncached(experiment)
        return self._resolve_new_shape(names, experiment)

    def resolve_all(self, experiments: Iterable[Experiment]) -> Iterator[Experiment]:
        """Resolve a stream of experiments, one at a time."""
        return map(self.resolve, experiments)

    def _resolve_new_shape(self, names: tuple[str, ...], experiment: Experiment) -> Experiment:
        programs, varying = self._programs[names], self._varying[names]
        trace = self.tracer.trace(experiment)
        if programs:
            varying |= programs[0].differences(experiment)
        plain = {name for name in varying if not is_template(experiment[name])}
        fastest = {name for name in plain if experiment[name] is not self._previous.get(name)}
        program = Program.compile(self.tracer, experiment, trace, plain, fastest)
        self._last = program
        programs[:] = [program, *(other for other in programs if not program.covers(other))]
        return _visible(experiment, trace)

    def resolve_uncached(self, experiment: Experiment) -> Experiment:
        """Like `resolve`, one value at a time and without remembering shapes."""
        return _visible(experiment, self.tracer.trace(experiment))


def _visible(experiment: Experiment, trace: Trace) -> Experiment:
    return {name: trace.values[name] for name in experiment if not name.startswith("__")}
