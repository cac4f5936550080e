"""Shapes: groups of experiments that one compiled function resolves.

In a plan most parameters never change; a few vary, and the others are computed from them. Experiments with equal raw values, except
those of the varying names, have one *shape*, and each shape is compiled into one Python function (`compile.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from operator import is_, itemgetter
from typing import Any

from dlbs.experiment import Experiment
from dlbs.plan.compile import FunctionWriter

__all__ = ["MAX_REMEMBERED", "Memory", "Shape", "value_key"]

MAX_REMEMBERED = 1024  # cached results of `outer`; bounded, because plans are streams

Resolve = Callable[[Experiment], Experiment]
Memory = dict[tuple[Any, ...], Resolve | None]  # an `outer` and the values that it was called with → its `inner`


class Shape:
    """One shape, and the function that resolves its experiments.

    Args:
        writer: Writer of its function.
        memory: Cache of the plan, shared by its shapes.

    Attributes:
        agreed: Names with the same raw value in all experiments of this shape.
        varying: The other names; their values contain no templates.
        resolve: The function: experiment of this shape → final values.
        source: The Python source of the function, for readers.
    """

    def __init__(self, writer: FunctionWriter, memory: Memory) -> None:
        experiment, namespace = writer.experiment, writer.namespace
        self._module = writer.module()
        exec(compile(self._module, "<experiment>", "exec"), namespace)
        namespace["remembered"] = _remembered(namespace["outer"], writer.slow, memory)
        self.resolve: Resolve = namespace["resolve"] if writer.slow else namespace["outer"](experiment)
        self.varying = frozenset(writer.varying)
        self.agreed = [name for name in experiment if name not in self.varying]
        self._example = dict(experiment)
        # 1 == 1.0 == True, also inside lists: equal values that are not strings need a second check.
        unclear = [name for name in self.agreed if experiment[name].__class__ is not str]
        self._values, self._unclear = _getter(self.agreed), _getter(unclear)
        self._agreed_values = self._values(experiment)
        self._agreed_unclear = self._unclear(experiment)
        self._agreed_reprs = repr(self._agreed_unclear)

    @property
    def source(self) -> str:
        return ast.unparse(self._module)

    def fits(self, experiment: Experiment) -> bool:
        """Whether an experiment has the agreed values of this shape; missing varying names are detected when they are read."""
        try:
            if len(experiment) != len(self._example) or self._values(experiment) != self._agreed_values:
                return False
            unclear = self._unclear(experiment)
        except KeyError:
            return False
        # Experiments of one builder share these objects; those of a file do not.
        return all(map(is_, unclear, self._agreed_unclear)) or repr(unclear) == self._agreed_reprs

    def covers(self, other: Shape) -> bool:
        """Whether every experiment of the other shape also has this shape."""
        return other.varying <= self.varying and all(
            name in self.varying or value_key(self._example[name]) == value_key(other._example[name])
            for name in other.agreed
        )


def value_key(value: Any) -> Any:
    """A hashable key that distinguishes values that compare equal: 1, 1.0 and True; 0.0 and -0.0."""
    kind = value.__class__
    if kind is str:
        return value
    return kind, value if kind is int or kind is bool else repr(value)


def _getter(names: list[str]) -> Callable[[Experiment], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda experiment: tuple(experiment[name] for name in names)


def _remembered(outer: Callable[[Experiment], Resolve], names: list[str], memory: Memory) -> Callable[..., Resolve]:
    """`outer` with a cache for recurring values; in plan order none recur, and caching has a cost."""
    values = _getter(names)

    def remembered(experiment: Experiment) -> Resolve:
        key = (outer, *map(value_key, values(experiment)))
        inner = memory.get(key)
        if inner is None:
            inner = outer(experiment)
            if len(memory) >= MAX_REMEMBERED:
                memory.clear()
            memory[key] = inner if key in memory else None
        return inner

    return remembered
