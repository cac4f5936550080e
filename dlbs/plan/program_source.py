"""Write the Python function that resolves the experiments of one shape.

The function is a list of lines, with placeholders where the syntax trees of templates belong: those were checked when they were
parsed, and are put in without becoming text again.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from dlbs.errors import ExpressionError
from dlbs.experiment import Experiment
from dlbs.language.limits import MAX_TEXT
from dlbs.language.template import Template, is_template, text_identifier, value_identifier
from dlbs.plan.trace import IDENTITY, Trace, Tracer, encode, identity_digest
from dlbs.text import text

__all__ = ["ProgramSource", "ShapeMismatchError"]

_MAX_REMEMBERED = 1024  # results in one memory; plans stream, so it must not grow with them

_EXACT_TYPES = {"str": str, "int": int, "float": float, "bool": bool}

_ASSIGNED = re.compile(r"\s*([vt]_\w+) = ")

_IDENTIFIER = re.compile(r"\b[vt]_\w+")

_TREE = re.compile(r"\btree_\d+")

_SCALARS = frozenset({str, int, float, bool, type(None)})


class ShapeMismatchError(Exception):
    """A varying parameter turned out to hold a template: the experiment has another shape."""


def memory_key(value: Any) -> Any:
    """What tells values apart that compare equal: 1, 1.0 and True; or that cannot be hashed."""
    kind = value.__class__
    if kind is str:
        return value
    return (kind, value) if kind is int or kind is bool else (kind, repr(value))


class ProgramSource:
    """The function of one shape, and the names that it uses.

    Args:
        tracer: Gives the templates and checks the values.
        experiment: An example of the shape.
        trace: The example, resolved.
        varying: Names of plain parameters that may differ.
        fastest: Those of them that differ between neighbours.
    """

    def __init__(
        self, tracer: Tracer, experiment: Experiment, trace: Trace, varying: set[str], fastest: set[str]
    ) -> None:
        self.tracer = tracer
        self.experiment = experiment
        self.trace = trace
        self.declarations = tracer.declarations
        # A parameter that decides which name a reference stands for cannot vary inside one shape.
        self.varying = varying - self._reached(trace.name_needs)
        self.fastest = (self.varying & fastest) | {""}
        self.depends = self._dependencies()
        self.changing = [name for name in trace.order if self.depends[name]]
        self.namespace: dict[str, Any] = {
            **tracer.namespace,
            "is_template": is_template,
            "key": memory_key,
            "length": len,
            "text": text,
            "scalars": _SCALARS,
            "ShapeMismatchError": ShapeMismatchError,
            "too_long": _too_long,
            **{f"type_{name}": kind for name, kind in _EXACT_TYPES.items()},
        }
        self.trees: dict[str, ast.expr] = {}  # placeholder in the source → the tree that belongs there
        self.tree_names: dict[str, list[str]] = {}
        self.text_needed: set[str] = set()
        self.templates: dict[str, Template] = {}
        for name in self.changing:
            template = tracer.template(experiment[name])
            if template is not None:
                self.templates[name] = template
                for reference in template.references:
                    if reference.as_text:
                        self.text_needed.add(self._target(reference.raw))

    def _target(self, raw: str) -> str:
        return self.trace.targets.get(raw, raw)

    def _reached(self, names: Iterable[str]) -> set[str]:
        """The names and all that they were computed from."""
        reached: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo.extend(self.trace.needs.get(name, ()))
        return reached

    def _dependencies(self) -> dict[str, frozenset[str]]:
        """Name → the varying names that its value depends on; `""` stands for a new value each time."""
        depends: dict[str, frozenset[str]] = {}
        for name in self.trace.order:
            own = {name} & self.varying
            if name in self.trace.volatile:
                own.add("")
            depends[name] = frozenset(own).union(*(depends.get(need, frozenset()) for need in self.trace.needs[name]))
            if name in self.trace.late:  # the identity stands for everything
                depends[name] |= {*self.varying, ""}
        return depends

    def function(self) -> Callable[[Experiment], Experiment]:
        """Compile the function."""
        outer, inner = self._parts()
        fixed = {name: self.trace.values[name] for name in self.experiment if not name.startswith("__")}
        self.namespace["fixed"] = fixed
        kept = [name for name in self.changing if name in fixed and not self.depends[name] & self.fastest]
        others = [name for name in self.changing if name in fixed and self.depends[name] & self.fastest]
        outer += ["partial = fixed.copy()", *_stores("partial", kept)]
        inner += ["out = partial.copy()", *_stores("out", others), "return out"]
        self._bind_unchanging()
        source = "\n".join(["def resolve(experiment):", *_indented(self._kept(outer, inner) + inner)])
        module = ast.parse(source)
        self._put_trees(module.body)
        exec(compile(module, "<experiment>", "exec"), self.namespace)
        function: Callable[[Experiment], Experiment] = self.namespace["resolve"]
        return function

    def _parts(self) -> tuple[list[str], list[str]]:
        """The lines that do not depend on the fastest names, and those that do."""
        everything = frozenset(self.varying)
        outer: list[str] = []
        inner: list[str] = []
        for name in self.changing:
            if name in self.varying:
                (inner if name in self.fastest else outer).extend(self._input(name))
        groups: dict[frozenset[str], list[str]] = {}
        for name in self.changing:
            if name not in self.varying and name not in self.trace.late:
                groups.setdefault(self.depends[name], []).append(name)
        # A value needs only values that depend on no more than it does, so small groups come first.
        for number, depends in enumerate(sorted(groups, key=len)):
            names = groups[depends]
            computed = [line for name in names for line in self._derived(name)]
            remember = depends != everything and "" not in depends
            part = inner if depends & self.fastest else outer
            part += self._remembered(number, depends, names, computed) if remember else computed
        late = [name for name in self.changing if name in self.trace.late]
        if late:
            inner += self._identity()
            inner += [line for name in late for line in self._derived(name)]
        return outer, inner

    def _kept(self, outer: list[str], inner: list[str]) -> list[str]:
        """Run the outer lines only if an outer value is another object than in the call before."""
        names = sorted(self.varying - self.fastest)
        if not names:
            return outer
        assigned = {found[1] for line in outer for found in [_ASSIGNED.match(line)] if found}
        used = {name for line in inner for name in _IDENTIFIER.findall(line)}
        used.update(name for line in inner for tree in _TREE.findall(line) for name in self.tree_names[tree])
        keep = ["partial", *sorted(assigned & used)]
        raw = [f"raw_{number}" for number in range(len(names))]
        was = [f"was_{number}" for number in range(len(names))]
        self.namespace["kept"] = [(object(),) * (len(names) + len(keep))]
        return [
            *(f"{local} = experiment[{name!r}]" for local, name in zip(raw, names, strict=True)),
            f"{', '.join([*was, *keep])} = kept[0]",
            f"if {' or '.join(f'{now} is not {before}' for now, before in zip(raw, was, strict=True))}:",
            *_indented(outer),
            f"    kept[0] = ({', '.join([*raw, *keep])},)",
        ]

    def _put_trees(self, statements: list[ast.stmt]) -> None:
        """Replace the placeholders by the trees of the templates."""
        for statement in statements:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):
                statement.value = self.trees.get(statement.value.id, statement.value)
            elif isinstance(statement, (ast.FunctionDef, ast.If)):
                self._put_trees(statement.body)
                self._put_trees(getattr(statement, "orelse", []))

    def _bind_unchanging(self) -> None:
        """Values that are the same for all experiments of this shape stand in the function's globals."""
        changing = set(self.changing) | {IDENTITY}
        for template in self.templates.values():
            for reference in template.references:
                target = self._target(reference.raw)
                if target not in changing:
                    value = self.trace.values[target] if target in self.trace.values else self.tracer.environ[target]
                    self.namespace[value_identifier(reference.raw)] = value
                    self.namespace[text_identifier(reference.raw)] = text(value)

    def _input(self, name: str) -> list[str]:
        value = value_identifier(name)
        return [
            f"{value} = experiment[{name!r}]",
            f"if {value}.__class__ is type_str:",
            f"    if '$' in {value} and is_template({value}): raise ShapeMismatchError",
            f"elif {value}.__class__ not in scalars and is_template({value}): raise ShapeMismatchError",
            *self._checks(name, None),
            *self._text(name, None),
        ]

    def _derived(self, name: str) -> list[str]:
        template = self.templates[name]
        lines: list[str] = []
        for reference in template.references:
            target = self._target(reference.raw)
            if target != reference.raw and (target == IDENTITY or self.depends.get(target)):
                if reference.as_value:
                    lines.append(f"{value_identifier(reference.raw)} = {value_identifier(target)}")
                if reference.as_text:
                    lines.append(f"{text_identifier(reference.raw)} = {text_identifier(target)}")
        if template.guarded:
            lines.append("work.reset()")
        tree = f"tree_{len(self.trees)}"
        self.trees[tree] = template.tree
        self.tree_names[tree] = template.identifiers()
        lines.append(f"{value_identifier(name)} = {tree}")
        return lines + self._checks(name, template) + self._text(name, template)

    def _checks(self, name: str, template: Template | None) -> list[str]:
        value = value_identifier(name)
        parameter = self.declarations.get(name)
        is_text = template is not None and template.is_text
        grows = template is not None and template.grows
        check = f"check_{value}"
        self.namespace[check] = functools.partial(self.tracer.final, name)
        if grows and is_text:
            lines = [f"if length({value}) > {MAX_TEXT}: too_long({name!r})"]
        else:
            lines = []
        checked = f"{value} = {check}(check_size({value}))" if grows and not is_text else f"{value} = {check}({value})"
        exact = _EXACT_TYPES.get(parameter.type) if parameter else None
        if parameter is None or (parameter.type == "any" and not parameter.domain and not parameter.regexp):
            if not is_text:
                lines.append(f"if {value}.__class__ not in scalars: {checked}")
        elif exact is None or parameter.regexp:
            lines.append(checked)
        elif parameter.domain is not None:
            self.namespace[f"domain_{value}"] = frozenset(parameter.domain)
            wrong = f"{value}.__class__ is not type_{parameter.type} or {value} not in domain_{value}"
            lines.append(f"if {wrong}: {checked}")
        elif not (is_text and exact is str):
            lines.append(f"if {value}.__class__ is not type_{parameter.type}: {checked}")
        return lines

    def _text(self, name: str, template: Template | None) -> list[str]:
        if name not in self.text_needed:
            return []
        value, as_text = value_identifier(name), text_identifier(name)
        parameter = self.declarations.get(name)
        if (template is not None and template.is_text and parameter is None) or (
            parameter is not None and parameter.type == "str" and parameter.default is not None
        ):
            return [f"{as_text} = {value}"]
        return [f"{as_text} = {value} if {value}.__class__ is type_str else text({value})"]

    def _remembered(self, number: int, depends: frozenset[str], names: list[str], computed: list[str]) -> list[str]:
        """Look the values of a group up by the varying values that they depend on; compute them at the first time."""
        memory = f"memory_{number}"
        self.namespace[memory] = {}
        keys = ", ".join(self._key(name) for name in sorted(depends))
        results = [value_identifier(name) for name in names]
        results += [text_identifier(name) for name in names if name in self.text_needed]
        packed = f"({', '.join(results)},)"
        return [
            f"k = {keys if len(depends) == 1 else f'({keys})'}",
            f"found = {memory}.get(k)",
            "if found is None:",
            f"    if length({memory}) >= {_MAX_REMEMBERED}: {memory}.clear()",
            *_indented(computed),
            f"    {memory}[k] = {packed}",
            "else:",
            f"    {packed} = found",
        ]

    def _key(self, name: str) -> str:
        parameter = self.declarations.get(name)
        value = value_identifier(name)
        if parameter is not None and parameter.type in {"str", "int", "bool"} and parameter.default is not None:
            return value  # checked, so always of that one type
        return f"({value} if {value}.__class__ is type_str else key({value}))"

    def _identity(self) -> list[str]:
        """Compute the digest, with the unchanging values encoded beforehand."""
        names = self.tracer.identity_names(self.experiment, self.trace)
        changing = set(self.changing)
        self.namespace.update(encode=encode, identity_digest=identity_digest, identity_names=",".join(names))
        pieces: list[str] = []
        constant: list[str] = []
        for name in names:
            if name in changing:
                if constant:
                    pieces.append(repr("\n".join(constant)))
                    constant = []
                pieces.append(f"encode({value_identifier(name)})")
            else:
                constant.append(encode(self.trace.values[name]))
        if constant:
            pieces.append(repr("\n".join(constant)))
        values = f"'\\n'.join(({', '.join(pieces)},))" if pieces else "''"
        identity = value_identifier(IDENTITY)
        return [
            f"{identity} = identity_digest(identity_names, {values})",
            f"{text_identifier(IDENTITY)} = {identity}",
        ]


def _stores(target: str, names: list[str]) -> list[str]:
    return [f"{target}[{name!r}] = {value_identifier(name)}" for name in names]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _too_long(name: str) -> None:
    raise ExpressionError(f"{name} is longer than {MAX_TEXT:,} characters")
