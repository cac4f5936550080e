"""Render launchers that use the plain part of Jinja2's language, without importing Jinja2, which takes a sixth of the start of a run.

Jinja2 parses a template once; its syntax tree is kept in the user's cache, and interpreted here as Jinja2 would render it if it consists of
blocks, conditions, loops, assignments, inclusions and the expressions in `_value`. Everything else is left to Jinja2: other templates, and
renderings with any error, whose message it makes.
"""

from __future__ import annotations

import marshal
import operator
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.core.files import read_from_cache, read_source, user_cache, write_to_cache

# Increment the first number if another tree is made of the same template.
_FORMAT = f"dlbs 2 {sys.version_info[0]}.{sys.version_info[1]} {marshal.version}"
_LARGEST = 16 << 20  # bytes of a cached tree
_MOST = 100  # cached templates

Tree = tuple[Any, ...]  # the kind of a node of Jinja2, and its fields in the order of Jinja2's classes

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv, "FloorDiv": operator.floordiv,
    "Mod": operator.mod, "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le, "gt": operator.gt,
    "gteq": operator.ge, "in": lambda one, many: one in many, "notin": lambda one, many: one not in many,
}  # fmt: skip
_METHODS = {"endswith", "lower", "partition", "rpartition", "split", "startswith", "strip", "upper"}  # of text
_RESERVED = {"loop", "super", "self", "caller", "varargs", "kwargs"}  # names that Jinja2 itself defines somewhere


class NotPlainError(Exception):
    """Jinja2 has to render it."""


class Namespace:
    """A namespace of parameters in a template, such as `exp` of `exp.model`."""

    def __init__(self, values: Mapping[str, Any], prefix: str) -> None:
        self._values = values
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        full = f"{self._prefix}.{name}"
        if full in self._values:
            return self._values[full]
        if not name.startswith("_") and any(known.startswith(full + ".") for known in self._values):
            return Namespace(self._values, full)
        raise AttributeError(full)


class _Variables:
    """The object that `namespace(...)` makes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __str__(self) -> str:
        raise TypeError("Jinja2 prints it")


class Rendering:
    """One rendering of a template: the pieces of the script, and the value between each two.

    Args:
        path: The template. Those that it extends or includes are in its directory, or in the second one.
        directory: The second directory.
        context: Names for the template.
        filters: Name → function.
        parse: Parses a template with Jinja2.

    Raises:
        NotPlainError: It has to be rendered by Jinja2.
    """

    def __init__(
        self,
        path: Path,
        directory: Path,
        context: Mapping[str, Any],
        filters: Mapping[str, Callable[..., Any]],
        parse: Callable[[str], Any],
    ) -> None:
        self._directories = (path.parent, directory)
        self._context, self._filters, self._parse = context, filters, parse
        self._blocks: dict[str, Sequence[Tree]] = {}
        self._may_be_seen = False  # a block might see what was assigned; the interpreter does not know that
        self.pieces, self.values = [""], list[Any]()
        try:
            self._run(self._inherited(path.name), dict(context))
        except Exception as error:  # Jinja2 repeats it and reports it in its words
            raise NotPlainError from error

    def _inherited(self, name: str) -> Sequence[Tree]:
        """The statements of the template on which a template is based; its blocks are kept."""
        body = self._load(name)
        bases = [node for node in body if node[0] == "Extends"]
        for node in body if bases else ():
            match node:
                case ("Block", block, usual, False, False):
                    self._blocks.setdefault(block, usual)
                case ("Extends", ("Const", base)) if len(bases) == 1:
                    pass
                case ("Output", (("TemplateData", words),)) if not words.strip():
                    pass
                case _:  # it would be run before the base
                    raise NotPlainError(node[0])
        return self._inherited(base) if bases else body

    def _load(self, name: str) -> Sequence[Tree]:
        if "/" not in name and "\\" not in name:
            for directory in self._directories:
                if (directory / name).is_file():
                    return _parsed(str(directory / name), read_source(directory / name, "strict"), self._parse)
        raise NotPlainError(name)

    def _run(self, body: Sequence[Tree], scope: dict[str, Any]) -> None:
        for statement in body:
            match statement:
                case ("Output", parts):
                    for part in parts:
                        if part[0] == "TemplateData":
                            self.pieces[-1] += part[1]
                        else:
                            self.values.append(self._value(part, scope))
                            self.pieces.append("")
                case ("If", test, then, others, otherwise):
                    branches = [(test, then), *((one, own) for _, one, own, (), () in others)]
                    taken = next((own for one, own in branches if self._value(one, scope)), otherwise)
                    self._run(taken, scope)
                case ("For", target, items, repeated, (), test, False):
                    for item in self._value(items, scope):
                        inner = dict(scope)
                        _assign(target, item, inner)
                        if test is None or self._value(test, inner):
                            self._run(repeated, inner)
                case ("Assign", ("NSRef", name, attribute), value):
                    if type(scope[name]) is not _Variables:
                        raise TypeError(name)
                    setattr(scope[name], _public(attribute), self._value(value, scope))
                case ("Assign", target, value):
                    self._may_be_seen = True
                    _assign(target, self._value(value, scope), scope)
                case ("Block", name, usual, False, False) if not self._may_be_seen:
                    own = self._blocks.get(name)
                    self._apart(usual if own is None else own, dict(self._context))
                case ("Include", ("Const", name), True, False):
                    self._apart(self._load(name), dict(scope))
                case _:
                    raise NotPlainError(statement[0])

    def _apart(self, body: Sequence[Tree], scope: dict[str, Any]) -> None:
        """Run statements whose assignments nothing outside sees."""
        before, self._may_be_seen = self._may_be_seen, True
        self._run(body, scope)
        self._may_be_seen = before

    def _value(self, expression: Tree, scope: Mapping[str, Any]) -> Any:
        def values(many: Sequence[Tree]) -> list[Any]:
            return [self._value(one, scope) for one in many]

        match expression:
            case ("Const", value):
                return value
            case ("Name", name, _) if name not in _RESERVED:
                return scope[name]
            case ("List", items):
                return values(items)
            case ("Tuple", items, _):
                return tuple(values(items))
            case ("Getattr", of, name, _):
                owner = self._value(of, scope)
                if type(owner) not in (Namespace, _Variables):
                    raise TypeError(name)
                return getattr(owner, _public(name))
            case ("Getitem", of, key, _):
                owner = self._value(of, scope)
                if not isinstance(owner, (dict, list, str, tuple)):
                    raise TypeError(owner)
                return owner[self._value(key, scope)]
            case ("Slice", *parts):
                return slice(*(None if part is None else self._value(part, scope) for part in parts))
            case ("Call", ("Name", "namespace", _), (), items, None, None) if "namespace" not in scope:
                return _Variables({_public(name): self._value(item, scope) for _, name, item in items})
            case ("Call", ("Getattr", of, name, _), arguments, (), None, None) if name in _METHODS:
                owner = self._value(of, scope)
                if type(owner) is not str:
                    raise TypeError(name)
                return getattr(owner, name)(*values(arguments))
            case ("Filter", of, "map", (("Const", "sh"),), (), None, None):
                return list(self._value(of, scope))
            case ("Filter", of, name, arguments, (), None, None):
                return self._filters[name](*values([of, *arguments]))
            case ("Concat", items):
                return "".join(map(str, values(items)))
            case ("Compare", first, others):
                left = self._value(first, scope)
                for _, operation, other in others:
                    right = self._value(other, scope)
                    if not _OPERATORS[operation](left, right):
                        return False
                    left = right
                return True
            case ("And", left, right):
                return self._value(left, scope) and self._value(right, scope)
            case ("Or", left, right):
                return self._value(left, scope) or self._value(right, scope)
            case ("Not", one):
                return not self._value(one, scope)
            case ("CondExpr", test, one, other):
                return self._value(one if self._value(test, scope) else other, scope)
            case (kind, left, right):
                return _OPERATORS[kind](self._value(left, scope), self._value(right, scope))
        raise NotPlainError(expression[0])


def _assign(target: Tree, value: Any, scope: dict[str, Any]) -> None:
    match target:
        case ("Name", name, _) if name not in _RESERVED:
            scope[name] = value
        case ("Tuple", names, _):
            for name, one in zip(names, value, strict=True):
                _assign(name, one, scope)
        case _:
            raise NotPlainError(target[0])


def _public(name: str) -> str:
    if name.startswith("_"):  # the sandbox refuses it
        raise NotPlainError(name)
    return name


@lru_cache(maxsize=64)
def _parsed(file: str, source: str, parse: Callable[[str], Any]) -> Sequence[Tree]:
    """The statements of a template, from the cache if its file had the same source before.

    Raises:
        ValueError: The template contains a constant that cannot be cached.
    """
    try:
        path = user_cache("launchers") / f"{zlib.crc32(repr((_FORMAT, file)).encode()):08x}.marshal"
    except RuntimeError:  # a user without a home directory
        return _tree(parse(source))[1]  # type: ignore[no-any-return]
    cached = read_from_cache(path, _LARGEST)
    if cached is not None:
        form, of_source, body = marshal.loads(cached)
        if (form, of_source) == (_FORMAT, source):
            return body  # type: ignore[no-any-return]
    body = _tree(parse(source))[1]
    write_to_cache(path, marshal.dumps((_FORMAT, source, body)), most=_MOST)
    return body  # type: ignore[no-any-return]


def _tree(node: Any) -> Any:
    if isinstance(node, list):
        return tuple(map(_tree, node))
    fields = getattr(node, "fields", None)  # of nodes; constants have none
    return node if fields is None else (type(node).__name__, *(_tree(getattr(node, name)) for name in fields))
