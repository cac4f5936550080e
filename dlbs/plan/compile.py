"""Resolve the experiments of a plan: one compiled function for all experiments of a shape.

In a plan most parameters never change; a few vary, and the others are computed from them. Experiments with equal raw values, except
those of the varying names, have one *shape*.

Values that depend on agreed values only are computed once, when the function is made. The rest is two functions, one inside the other as
in nested loops: `outer` computes all values that do not depend on the fastest names (the last variables of a product), and returns `inner`, which
computes the rest. engine.md shows both.

The function is made of lines with placeholders for the syntax trees of templates, which were checked when they were parsed, and are
inserted without conversion to text.
"""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from operator import is_, itemgetter
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.core.errors import DlbsError, ExpressionError
from dlbs.core.experiment import Experiment
from dlbs.core.text import text
from dlbs.language.expressions import has_calls, split, text_identifier, value_identifier
from dlbs.language.limits import MAX_TEXT, BackstopError
from dlbs.language.template import Template, is_template
from dlbs.plan.resolve import EVALUATION_ERRORS, IDENTITY, Trace, Tracer, encode, environment_value, identity_digest

_EXACT_TYPES = {"str": str, "int": int, "float": float, "seconds": float, "bool": bool}
_SCALARS = frozenset({str, int, float, bool, type(None)})
_FIXED, _OUTER, _INNER = range(3)  # how often a value changes


class ShapeMismatchError(Exception):
    """A varying parameter contains a template: the experiment has a different shape."""


class FunctionWriter:
    """Writer of the function of one shape.

    Args:
        tracer: Parses templates and checks values.
        experiment: An example of the shape.
        trace: The example, resolved.
        varying: Names of plain parameters that may differ.
        fastest: Those of them that differ between adjacent experiments.

    Attributes:
        varying: Names that can differ within one shape.
        slow: Those of them that `outer` reads; if there are none, `outer` is the complete function.
        namespace: Globals of the functions.
    """

    def __init__(
        self, tracer: Tracer, experiment: Experiment, trace: Trace, varying: set[str], fastest: Set[str]
    ) -> None:
        self.tracer, self.experiment, self.trace = tracer, experiment, trace
        # A parameter that determines the name of a computed reference cannot vary within one shape.
        decisive = set(trace.name_needs)
        for name in reversed(trace.needs):  # each after its dependencies
            decisive.update(trace.needs[name] if name in decisive else ())
        self.varying = varying - decisive
        self.changes: dict[str, int] = {IDENTITY: _INNER}
        for name in trace.needs:
            needs = max((self.changes[need] for need in trace.needs[name]), default=_FIXED)
            own = _FIXED if name not in self.varying else _INNER if name in fastest else _OUTER
            self.changes[name] = _INNER if name in trace.volatile else max(own, needs)
        self.slow = [name for name in experiment if name in self.varying and self.changes[name] == _OUTER]
        self.templates: dict[str, Template] = {}
        self.text_needed: set[str] = set()
        for name in trace.needs:
            template = tracer.template(experiment[name])
            if template is not None and self.changes[name]:
                self.templates[name] = template
                self.text_needed |= {self._target(one.raw) for one in template.references if one.as_text}
        self.trees: dict[str, ast.expr] = {}  # placeholder in the lines → its tree
        self.namespace: dict[str, Any] = {
            **tracer.namespace,
            "ShapeMismatchError": ShapeMismatchError,
            "encode": encode,
            "identity_digest": identity_digest,
            "is_template": is_template,
            "length": len,
            "scalars": _SCALARS,
            "text": text,
            "too_long": _too_long,
            **{f"type_{name}": kind for name, kind in _EXACT_TYPES.items()},
        }

    def _target(self, raw: str) -> str:
        return self.trace.targets.get(raw, raw)

    def module(self) -> ast.Module:
        """Generate the function `outer`, and `resolve`, which calls it, if there are slow names; their globals are in `namespace`."""
        lines: dict[int, list[str]] = {_OUTER: [], _INNER: []}
        identity_known = False
        for name in self.trace.needs:  # each value after its dependencies
            if name in self.trace.late and not identity_known:
                encoded, digest = self._identity()
                lines[_OUTER] += encoded
                lines[_INNER] += digest
                identity_known = True
            if name in self.varying:
                lines[self.changes[name]] += self._input(name)
            elif self.changes[name]:
                for level, added in self._derived(name).items():
                    lines[level] += added
        self._bind_fixed()
        shown = [name for name in self.experiment if not name.startswith("__")]
        self.namespace["fixed"] = {name: self.trace.values[name] for name in shown}
        stores = {
            level: [f"[{name!r}] = {value_identifier(name)}" for name in shown if self.changes[name] == level]
            for level in lines
        }
        inner = [
            *_metered(lines[_INNER]),
            "out = partial.copy()",
            *(f"out{store}" for store in stores[_INNER]),
            "return out",
        ]
        outer = [
            *_metered(lines[_OUTER]),
            "partial = fixed.copy()",
            *(f"partial{store}" for store in stores[_OUTER]),
            *_function("inner", inner),
            "return inner",
        ]
        module = ast.parse("\n".join((self._switch() if self.slow else []) + _function("outer", outer)))
        self._put_trees(module.body)
        return ast.fix_missing_locations(module)

    def _switch(self) -> list[str]:
        """Generate the function that reuses the `inner` of the previous experiment or gets another one."""
        raw = {name: f"raw_{number}" for number, name in enumerate(self.slow)}
        self.namespace.update(dict.fromkeys(raw.values(), object()))
        changed = " or ".join(f"experiment[{name!r}] is not {before}" for name, before in raw.items())
        return _function(
            "resolve",
            [
                f"global inner, {', '.join(raw.values())}",
                f"if {changed}:",
                "    inner = remembered(experiment)",  # an error leaves the state unchanged
                *(f"    {before} = experiment[{name!r}]" for name, before in raw.items()),
                "return inner(experiment)",
            ],
        )

    def _put_trees(self, statements: list[Any]) -> None:
        """Replace the placeholders with the trees of the templates."""
        for statement in statements:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):
                statement.value = self.trees.get(statement.value.id, statement.value)
            self._put_trees(getattr(statement, "body", []))

    def _bind_fixed(self) -> None:
        """Store values that are the same for all experiments of this shape in the function's globals."""
        for template in self.templates.values():
            for reference in template.references:
                raw, target = reference.raw, self._target(reference.raw)
                if target in self.trace.values and not self.changes[target]:
                    value = as_text = self.trace.values[target]
                elif target not in self.trace.values:
                    as_text = self.tracer.environ[target]
                    value = environment_value(as_text, lossless=template.is_reference)
                else:
                    continue
                self.namespace[value_identifier(raw)] = value
                self.namespace[text_identifier(raw)] = text(as_text)

    def _input(self, name: str) -> list[str]:
        value = value_identifier(name)
        return [
            f"{value} = experiment[{name!r}]",
            f"if {value}.__class__ is type_str:",
            f"    if '$' in {value} and is_template({value}): raise ShapeMismatchError",
            f"elif {value}.__class__ not in scalars and is_template({value}): raise ShapeMismatchError",
            *self._checks(name, None),
        ]

    def _derived(self, name: str) -> dict[int, list[str]]:
        """Generate the lines of each level that compute a value: in `outer`, also the parts of an inner value that do not change there."""
        template, value = self.templates[name], value_identifier(name)
        lines: dict[int, list[str]] = {_OUTER: [], _INNER: []}
        changing: set[str] = set()
        for reference in template.references:
            raw, target = reference.raw, self._target(reference.raw)
            change = self.changes.get(target, _FIXED)
            for identifier, is_used in ((value_identifier, reference.as_value), (text_identifier, reference.as_text)):
                if is_used and target != raw and change:
                    lines[change].append(f"{identifier(raw)} = {identifier(target)}")
                if change == _INNER:
                    changing.add(identifier(raw))
        level, tree, begin = self.changes[name], template.tree, "meter.reset()"
        if level == _INNER and not template.volatile:
            tree, steady = split(tree, changing, f"s_{value}")
            parts = [self._assignment(identifier, part) for identifier, part in steady.items()]
            if parts and template.guarded:
                parts = ["meter.reset()", *parts, f"left_{value} = meter.left"]
                begin = f"meter.reset(left_{value})"  # what the parts spent is spent
            lines[_OUTER] += parts
        if template.guarded and has_calls(tree):
            lines[level].append(begin)
        lines[level] += [self._assignment(value, tree), *self._checks(name, template)]
        return lines

    def _assignment(self, identifier: str, tree: ast.expr) -> str:
        placeholder = f"tree_{len(self.trees)}"
        self.trees[placeholder] = tree
        return f"{identifier} = {placeholder}"

    def _checks(self, name: str, template: Template | None) -> list[str]:
        """Generate the check of a value and, if other values need it, its text."""
        value = value_identifier(name)
        final = functools.partial(self.tracer.final, name)
        lines: list[str] = []
        is_text = template is not None and template.is_text
        check = f"check_{value}"
        self.namespace[check] = final
        call = f"{check}({value})"
        if template is not None and template.grows and is_text:
            lines.append(f"if length({value}) > {MAX_TEXT}: too_long({name!r})")
        elif template is not None and template.grows:
            call = f"{check}(check_size({value}))"
        wrong = self._wrong(name, is_text)
        if wrong != "False":
            lines.append(f"if {wrong}: {value} = {call}")
        if template is not None and template.grows and not is_text and self._may_be_text(name):
            lines.append(f"elif {value}.__class__ is type_str and length({value}) > {MAX_TEXT}: too_long({name!r})")
        if name in self.text_needed:
            lines.append(f"{text_identifier(name)} = {value} if {value}.__class__ is type_str else text({value})")
        return lines

    def _wrong(self, name: str, is_text: bool) -> str:
        """Generate a fast test that is false for most values that need no check."""
        parameter, value = self.tracer.declarations.get(name), value_identifier(name)
        if parameter is None or (parameter.type == "any" and parameter.domain is None and not parameter.regexp):
            return "False" if is_text else f"{value}.__class__ not in scalars"
        if parameter.type not in _EXACT_TYPES or parameter.regexp:
            return "True"
        wrong_type = f"{value}.__class__ is not type_{parameter.type}"
        if parameter.domain is not None:
            self.namespace[f"domain_{value}"] = frozenset(parameter.domain)
            return f"{wrong_type} or {value} not in domain_{value}"
        return "False" if is_text and parameter.type == "str" else wrong_type

    def _may_be_text(self, name: str) -> bool:
        """Whether a value that needs no check may be a text."""
        parameter = self.tracer.declarations.get(name)
        return parameter is None or parameter.type in {"any", "str"}

    def _identity(self) -> tuple[list[str], list[str]]:
        """Generate the lines that encode the values of `outer`, and those that compute the digest of all values."""
        names = self.tracer.identity_names(self.experiment, self.trace)
        self.namespace["identity_names"] = ",".join(names)
        outer: list[str] = []
        pieces: list[str] = []
        for change, group in itertools.groupby(names, self.changes.__getitem__):
            if change == _FIXED:
                pieces.append(repr("\n".join(encode(self.trace.values[name]) for name in group)))
                continue
            encoded = [f"encode({value_identifier(name)})" for name in group]
            if change == _OUTER:
                outer.append(f"e_{len(outer)} = '\\n'.join([{', '.join(encoded)}])")
                encoded = [f"e_{len(outer) - 1}"]
            pieces += encoded
        identity = value_identifier(IDENTITY)
        return outer, [
            f"{identity} = identity_digest(identity_names, '\\n'.join([{', '.join(pieces)}]))",
            f"{text_identifier(IDENTITY)} = {identity}",
        ]


def _function(name: str, lines: list[str]) -> list[str]:
    return [f"def {name}(experiment):", *(f"    {line}" for line in lines)]


def _metered(lines: list[str]) -> list[str]:
    """Wrap lines in the meter's backstop, if they use the meter."""
    uses_meter = any(line.startswith("meter.") for line in lines)
    return ["with meter:", *(f"    {line}" for line in lines)] if uses_meter else lines


def _too_long(name: str) -> None:
    raise ExpressionError(f"{name} is longer than {MAX_TEXT:,} characters")


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
