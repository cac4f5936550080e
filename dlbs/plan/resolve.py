"""Resolve one experiment value by value, and record the origin of each value."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.core.errors import DlbsError, ExpressionError, ResolveError
from dlbs.core.experiment import Experiment, as_written
from dlbs.core.files import JsonError, load_json
from dlbs.core.text import text
from dlbs.language.expressions import NAMESPACE, text_identifier, value_identifier
from dlbs.language.limits import MAX_DEPTH, METER, check_size
from dlbs.language.template import Template, is_template, parse

IDENTITY = "__identity__"  # `${__identity__}`: the digest of the experiment's identity

# Errors of operations in expressions: wrong type, index out of range, division by zero.
EVALUATION_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)

_UNSET = object()

_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def encode(value: Any) -> str:
    """Encode a final value as JSON for the identity."""
    return _encoder.encode(value)


def identity_digest(names: str, values: str) -> str:
    """A 16-digit digest of an experiment's identity: its parameters' names and their encoded values, sorted by name."""
    return hashlib.blake2b(f"{names}\n{values}".encode(), digest_size=8).hexdigest()


def environment_value(variable: str, *, lossless: bool) -> Any:
    """The typed value of an environment variable's text, by the rule of `-P`: JSON if it is JSON, else the text itself.

    Args:
        variable: The text.
        lossless: Keep the text unless the value has the same text: a parameter that is only a reference may be intended as text,
            and the version 3.10 is not the number 3.1.
    """
    try:
        value = load_json(variable)
    except JsonError:
        return variable
    return variable if lossless and text(value) != variable else value


class _NeedsIdentityError(Exception):
    """A value depends on the identity, which is computed after the other values."""


@dataclass(slots=True)
class Trace:
    """The origins of the values of one experiment."""

    values: Experiment = field(default_factory=dict)  # final, including hidden ones
    needs: dict[str, list[str]] = field(
        default_factory=dict
    )  # name → the names that it was computed from, which come first
    environment: dict[str, list[str]] = field(default_factory=dict)  # name → environment variables, likewise
    targets: dict[str, str] = field(default_factory=dict)  # text of a computed reference → its name
    name_needs: set[str] = field(default_factory=set)  # names that determined the names of computed references
    late: set[str] = field(default_factory=set)  # names that depend on the identity, and so cannot be part of it
    volatile: set[str] = field(default_factory=set)  # names whose value differs each time

    def is_done(self, name: str) -> bool:
        """Whether a value is known, or known to depend on the identity."""
        return name in self.values or (name in self.late and IDENTITY not in self.values)


class Tracer:
    """Resolver of single experiments with declarations and a snapshot of the environment.

    Args:
        declarations: Name → declaration; parameters without one keep the type of their value.
        environ: Environment variables that references and `env()` may read; a snapshot of `os.environ` by default.
    """

    def __init__(
        self, declarations: Mapping[str, Parameter] | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.declarations = dict(declarations or {})
        self.environ = dict(os.environ if environ is None else environ)
        self.namespace = {**NAMESPACE, "f_env": self._env}
        self._templates: dict[str, Template] = {}

    def trace(self, experiment: Experiment) -> Trace:
        """Resolve one experiment, and record the dependencies of every value.

        Raises:
            DlbsError: As `resolve`.
        """
        trace = Trace()
        for name in experiment:
            self._compute(name, experiment, trace)
        if trace.late:
            names = self.identity_names(experiment, trace)
            values = "\n".join(encode(trace.values[name]) for name in names)
            trace.values[IDENTITY] = identity_digest(",".join(names), values)
            for name in experiment:
                self._compute(name, experiment, trace)
        return trace

    def identity_names(self, experiment: Experiment, trace: Trace) -> list[str]:
        """The parameters of the experiment's identity, sorted."""
        return sorted(
            name
            for name in experiment
            if not name.startswith("__")
            and name not in trace.late
            and name not in trace.volatile
            and (name not in self.declarations or self.declarations[name].identity)
        )

    def _compute(self, root: str, experiment: Experiment, trace: Trace) -> None:
        """Compute `root` and its dependencies, depth first; without recursion, since chains may be long."""
        if trace.is_done(root):
            return
        path = {root: self._value(root, experiment, trace)}  # in progress: each needs the next
        while path:
            name = next(reversed(path))
            try:
                needed = next(path[name], None)
            except DlbsError as error:
                kind = type(error) if isinstance(error, (ExpressionError, ResolveError)) else ResolveError
                what, hint = as_written(error.what), as_written(error.hint)
                raise kind(what, where=error.where or " → ".join(path), hint=hint) from None
            if needed is None:
                del path[name]
            elif needed in path:
                names = list(path)
                cycle = [*names[names.index(needed) :], needed]
                raise ResolveError(f"parameters refer to each other in a cycle: {' → '.join(cycle)}")
            else:
                path[needed] = self._value(needed, experiment, trace)

    def _value(self, name: str, experiment: Experiment, trace: Trace) -> Iterator[str]:
        """Compute one parameter; yields the names that must be computed first."""
        value = experiment[name]
        template = self.template(value)
        needs: dict[str, None] = {}
        if template is not None:
            try:
                bound = yield from self._bound(template, experiment, trace, needs)
            except _NeedsIdentityError:
                trace.late.add(name)
                return
            value = self._evaluate(template, bound)
            if template.volatile or not trace.volatile.isdisjoint(needs):
                trace.volatile.add(name)
        trace.values[name] = self.final(name, value)
        trace.needs[name] = [need for need in needs if need in trace.values]
        trace.environment[name] = [need for need in needs if need not in trace.values]

    def _bound(
        self, template: Template, experiment: Experiment, trace: Trace, needs: dict[str, None]
    ) -> Generator[str, None, dict[str, Any]]:
        """Values of a template's references by identifier; adds their names to `needs`."""
        bound: dict[str, Any] = {}
        for reference in template.references:
            raw = reference.raw
            target = reference.name or trace.targets.get(raw)
            if target is None:
                assert reference.name_template is not None  # a name is constant or computed
                inner: dict[str, None] = {}
                parts = yield from self._bound(reference.name_template, experiment, trace, inner)
                needs.update(inner)
                trace.name_needs.update(inner)
                target = trace.targets[raw] = text(self._evaluate(reference.name_template, parts))
            if target in experiment or target == IDENTITY:
                if target != IDENTITY and not trace.is_done(target):
                    yield target
                if target not in trace.values:
                    raise _NeedsIdentityError
                value = typed = trace.values[target]
            elif target in self.environ:
                value = self.environ[target]
                typed = environment_value(value, lossless=template.is_reference) if reference.as_value else None
            else:
                from dlbs.config.names import name_hint

                known = [name for name in (*experiment, *self.environ) if not name.startswith("__")]
                raise ResolveError(
                    f"{target!r} is neither a parameter of this experiment nor an environment variable",
                    hint=name_hint(target, known),
                )
            needs[target] = None
            if reference.as_value:
                bound[value_identifier(raw)] = typed
            if reference.as_text:
                bound[text_identifier(raw)] = text(value)
        return bound

    def _evaluate(self, template: Template, values: dict[str, Any]) -> Any:
        code = template.code
        try:
            with METER:
                value = eval(code, {**self.namespace, **values})
                return check_size(value) if template.grows else value
        except EVALUATION_ERRORS as error:
            shown = template.source if isinstance(template.source, str) else json.dumps(template.source)
            raise ExpressionError(f"{shown[:200]} failed: {type(error).__name__}: {error}") from None

    def template(self, raw: Any) -> Template | None:
        """The template of a raw value, parsed once for each distinct text; None if the value is final."""
        if not is_template(raw):
            return None
        key = raw if raw.__class__ is str else "\0" + json.dumps(raw)
        template = self._templates.get(key)
        if template is None:
            template = self._templates[key] = parse(raw)
        return template

    def final(self, name: str, value: Any) -> Any:
        """Return a computed value as plain JSON data, cast and checked by its declaration."""
        if value.__class__ not in _PLAIN:
            value = _plain(name, value)
        parameter = self.declarations.get(name)
        return value if parameter is None else parameter.check(value)

    def _env(self, name: str, default: Any = _UNSET) -> Any:
        value = self.environ.get(name, default)
        if value is _UNSET:
            raise ExpressionError(
                f"environment variable {name!r} is not set", hint="env('NAME', default) gives a default"
            )
        return value


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _plain(name: str, value: Any, depth: int = 0) -> Any:
    """Return a value as JSON data: tuples, ranges and sets become lists."""
    if value.__class__ in _PLAIN:
        return value
    if depth == MAX_DEPTH:
        raise ExpressionError(f"{name} would be nested more than {MAX_DEPTH} deep")
    if value.__class__ is list and _PLAIN.issuperset(map(type, value)):
        return value
    if isinstance(value, (list, tuple, range)):
        return [_plain(name, item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(name, item, depth + 1) for item in value), key=text)
    if isinstance(value, Mapping):
        return {  # fast path for string keys and plain items
            key if key.__class__ is str else text(key): item
            if item.__class__ in _PLAIN
            else _plain(name, item, depth + 1)
            for key, item in value.items()
        }
    raise ExpressionError(
        f"{name} would be a {_KINDS.get(type(value).__name__, type(value).__name__)}, which is not data",
        hint="write [...], or .group(1) of a match",
    )


_KINDS = {"Match": "match of a regular expression", "generator": "loop without brackets"}
