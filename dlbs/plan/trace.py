"""Resolve one experiment value by value, and know why each value is what it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.errors import DlbsError, ExpressionError, ResolveError, did_you_mean
from dlbs.experiment import Experiment
from dlbs.jsonio import JsonError, load_json
from dlbs.language.expressions import NAMESPACE, text_identifier, value_identifier
from dlbs.language.limits import MAX_DEPTH, METER, check_size
from dlbs.language.template import Reference, Template, is_template, parse
from dlbs.text import text

__all__ = ["EVALUATION_ERRORS", "IDENTITY", "Trace", "Tracer", "encode", "environment_value", "identity_digest"]

IDENTITY = "__identity__"  # `${__identity__}`: a digest of what the experiment is

# What the operations of an expression raise: a wrong type, an index out of range, a division by zero.
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
    """The JSON text of a final value that goes into the identity."""
    return _encoder.encode(value)


def identity_digest(names: str, values: str) -> str:
    """A 16-digit digest of an experiment's identity: its parameters' names and their encoded values, sorted by name."""
    return hashlib.blake2b(f"{names}\n{values}".encode(), digest_size=8).hexdigest()


def environment_value(variable: str, *, lossless: bool) -> Any:
    """The typed value of an environment variable's text, by the rule of `-P`: JSON if it is JSON, else the text itself.

    Args:
        variable: The text.
        lossless: Keep the text unless the value reads the same: a parameter that is a reference and nothing else may be meant as text,
            and the version 3.10 is not the number 3.1.
    """
    try:
        value = load_json(variable)
    except JsonError:
        return variable
    return variable if lossless and text(value) != variable else value


class _NeedsIdentityError(Exception):
    """A value depends on the identity, which is not known before the other values are."""


@dataclass(slots=True)
class Trace:
    """How the values of one experiment came about.

    Attributes:
        values: Final values by name, hidden ones included.
        needs: Name → names of the parameters that its value was computed from.
        environment: Name → environment variables that it was computed from.
        targets: Text of a computed reference → the name that it stood for.
        name_needs: Parameters that decided which name a computed reference stood for.
        order: Names in an order in which each comes after what it needs.
        late: Names that depend on the identity, and so cannot be part of it.
        volatile: Names whose value is another each time.
    """

    values: Experiment = field(default_factory=dict)
    needs: dict[str, list[str]] = field(default_factory=dict)
    environment: dict[str, list[str]] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    name_needs: set[str] = field(default_factory=set)
    order: list[str] = field(default_factory=list)
    late: set[str] = field(default_factory=set)
    volatile: set[str] = field(default_factory=set)


class Tracer:
    """Resolves single experiments against declarations and a snapshot of the environment.

    Args:
        declarations: Name → declaration; parameters without one keep the type that their value has.
        environ: Environment variables that references and `env()` may read; a snapshot of `os.environ` by default.
    """

    def __init__(
        self, declarations: Mapping[str, Parameter] | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.declarations = dict(declarations or {})
        self.environ = dict(os.environ if environ is None else environ)
        self.namespace = {**NAMESPACE, "f_env": self._env}
        self._templates: dict[str, Template] = {}
        self._functions: dict[int, tuple[Template, Callable[..., Any]]] = {}

    def trace(self, experiment: Experiment) -> Trace:
        """Resolve one experiment and keep what every value was computed from.

        Raises:
            DlbsError: As `resolve`.
        """
        trace = Trace()
        for name in experiment:
            self._compute(name, experiment, trace)
        if trace.late:
            names, values = self.identity(experiment, trace)
            trace.values[IDENTITY] = identity_digest(names, values)
            late = [name for name in experiment if name in trace.late]
            for name in late:
                self._compute(name, experiment, trace)
        return trace

    def identity_names(self, experiment: Experiment, trace: Trace) -> list[str]:
        """The parameters that say what the experiment is, sorted."""
        return sorted(
            name
            for name in experiment
            if not name.startswith("__")
            and name not in trace.late
            and name not in trace.volatile
            and (name not in self.declarations or self.declarations[name].identity)
        )

    def identity(self, experiment: Experiment, trace: Trace) -> tuple[str, str]:
        """The names and the encoded values that the digest is made of."""
        names = self.identity_names(experiment, trace)
        return ",".join(names), "\n".join(encode(trace.values[name]) for name in names)

    def _compute(self, root: str, experiment: Experiment, trace: Trace) -> None:
        """Compute `root` and what it needs, depth first with an explicit stack: chains may be long."""
        path = [root]  # each needs the next
        on_path = {root}
        while path:
            name = path[-1]
            if name in trace.values or (name in trace.late and IDENTITY not in trace.values):
                on_path.discard(path.pop())
                continue
            try:
                missing = self._step(name, experiment, trace)
            except DlbsError as error:
                raise self._with_chain(error, path) from None
            if missing is None:
                on_path.discard(path.pop())
            elif missing in on_path:
                cycle = [*path[path.index(missing) :], missing]
                raise ResolveError(f"parameters refer to each other in a cycle: {' → '.join(cycle)}")
            else:
                path.append(missing)
                on_path.add(missing)

    def _with_chain(self, error: DlbsError, path: list[str]) -> DlbsError:
        needed = " → ".join(path)
        kind = type(error) if isinstance(error, (ExpressionError, ResolveError)) else ResolveError
        return kind(error.what, where=error.where or needed, hint=error.hint)

    def _step(self, name: str, experiment: Experiment, trace: Trace) -> str | None:
        """Compute `name`, or return a name that is needed first."""
        raw = experiment[name]
        template = self.template(raw)
        if template is None:
            self._finish(name, raw, trace, [], [])
            return None
        values: dict[str, Any] = {}
        needs: list[str] = []
        environment: list[str] = []
        try:
            for reference in template.references:
                missing = self._bind(reference, template.is_reference, experiment, trace, values, needs, environment)
                if missing is not None:
                    return missing
        except _NeedsIdentityError:
            trace.late.add(name)
            return None
        value = self._evaluate(template, values)
        if template.volatile or any(need in trace.volatile for need in needs):
            trace.volatile.add(name)
        self._finish(name, value, trace, needs, environment)
        return None

    def _bind(
        self,
        reference: Reference,
        alone: bool,
        experiment: Experiment,
        trace: Trace,
        values: dict[str, Any],
        needs: list[str],
        environment: list[str],
    ) -> str | None:
        """Put the value of a reference where the template expects it, or return the name that is needed first."""
        target = reference.name or trace.targets.get(reference.raw)
        if target is None:
            assert reference.name_template is not None  # a name is constant or computed
            inner: dict[str, Any] = {}
            for nested in reference.name_template.references:
                missing = self._bind(nested, False, experiment, trace, inner, needs, environment)
                if missing is not None:
                    return missing
                trace.name_needs.add(nested.name or trace.targets[nested.raw])
            target = trace.targets[reference.raw] = text(self._evaluate(reference.name_template, inner))
        if target == IDENTITY or target in experiment:
            if target not in trace.values:
                if IDENTITY not in trace.values and (target == IDENTITY or target in trace.late):
                    raise _NeedsIdentityError
                return str(target)
            value = trace.values[target]
            needs.append(target)
        elif target in self.environ:
            value = self.environ[target]
            environment.append(target)
            if reference.as_value:
                values[value_identifier(reference.raw)] = environment_value(value, lossless=alone)
        else:
            raise ResolveError(
                f"{target!r} is neither a parameter of this experiment nor an environment variable",
                hint=did_you_mean(target, [name for name in (*experiment, *self.environ) if not name.startswith("__")]),
            )
        if reference.as_value:
            values.setdefault(value_identifier(reference.raw), value)
        if reference.as_text:
            values[text_identifier(reference.raw)] = text(value)
        return None

    def _finish(self, name: str, value: Any, trace: Trace, needs: list[str], environment: list[str]) -> None:
        trace.values[name] = self.final(name, value)
        trace.needs[name] = list(dict.fromkeys(needs))
        trace.environment[name] = list(dict.fromkeys(environment))
        trace.order.append(name)

    def _evaluate(self, template: Template, values: dict[str, Any]) -> Any:
        function = self._functions.get(id(template))
        if function is None:  # the template is kept with its function, so that its id stays its own
            function = self._functions[id(template)] = (template, template.compile(self.namespace))
        try:
            with METER:
                value = function[1](**values)
                return check_size(value) if template.grows else value
        except EVALUATION_ERRORS as error:
            shown = template.source if isinstance(template.source, str) else json.dumps(template.source)
            raise ExpressionError(f"{shown[:200]} failed: {type(error).__name__}: {error}") from None

    def template(self, raw: Any) -> Template | None:
        """The template of a raw value, parsed once for each distinct text; None if the value is final as it stands."""
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
        return {text(key): _plain(name, item, depth + 1) for key, item in value.items()}
    raise ExpressionError(
        f"{name} would be a {_KINDS.get(type(value).__name__, type(value).__name__)}, which is not data",
        hint="write [...], or .group(1) of a match",
    )


_KINDS = {"Match": "match of a regular expression", "generator": "loop without brackets"}
