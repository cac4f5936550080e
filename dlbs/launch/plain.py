"""Render launchers that use the plain part of Jinja2's language, without importing Jinja2, which takes a quarter of the start of a run.

Jinja2 parses a template once. If it consists of blocks, conditions, loops, assignments, inclusions and the expressions in `_expression`,
its syntax tree is kept in the user's cache, and interpreted here as Jinja2 would render it. Everything else is left to Jinja2: other
templates, and renderings with any error, whose message it makes.
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

from dlbs.files import read_from_cache, read_source, user_cache, write_to_cache

# Increment the first number if another tree is made of the same template.
_FORMAT = f"dlbs 1 {sys.version_info[0]}.{sys.version_info[1]} {marshal.version}"
_LARGEST = 16 << 20  # bytes of a cached tree
_MOST = 100  # cached templates

Tree = tuple[Any, ...]  # the kind of a statement or expression, and its parts
Program = tuple[str, tuple[Tree, ...]]  # the template that it extends, and its statements

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv, "FloorDiv": operator.floordiv,
    "Mod": operator.mod, "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le, "gt": operator.gt,
    "gteq": operator.ge, "in": lambda one, many: one in many, "notin": lambda one, many: one not in many,
}  # fmt: skip
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


class _List(list[Any]):
    """A list that the template makes; lists of the experiment must not be changed."""


_METHODS: dict[type, set[str]] = {
    str: {"endswith", "lower", "partition", "rpartition", "split", "startswith", "strip", "upper"},
    _List: {"append"},
}


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
        self.pieces, self.values = [""], list[Any]()
        try:
            self._run(self._inherited(path.name), dict(context))
        except Exception as error:  # Jinja2 repeats it and reports it in its words
            raise NotPlainError from error

    def _inherited(self, name: str) -> Sequence[Tree]:
        """The statements of the template on which a template is based; its blocks are kept."""
        base, body = self._load(name)
        if not base:
            return body
        self._blocks = {**{one[1]: one[2] for one in body}, **self._blocks}
        return self._inherited(base)

    def _load(self, name: str) -> Program:
        for directory in self._directories:
            if (directory / name).is_file():
                source = read_source(directory / name, "strict")
                found = _program(str(directory / name), source, self._parse)
                if found is not None:
                    return found
        raise NotPlainError(name)

    def _run(self, body: Sequence[Tree], scope: dict[str, Any]) -> None:
        for statement in body:
            match statement:
                case ("text", words):
                    self.pieces[-1] += words
                case ("print", value):
                    self.values.append(self._value(value, scope))
                    self.pieces.append("")
                case ("if", branches):
                    for test, branch in branches:
                        if self._value(test, scope):
                            self._run(branch, scope)
                            break
                case ("for", target, items, test, repeated):
                    for item in self._value(items, scope):
                        inner = dict(scope)
                        self._assign(target, item, inner)
                        if self._value(test, inner):
                            self._run(repeated, inner)
                case ("set", target, value):
                    self._assign(target, self._value(value, scope), scope)
                case ("set attribute", name, attribute, value):
                    if type(scope[name]) is not _Variables:
                        raise TypeError(name)
                    setattr(scope[name], attribute, self._value(value, scope))
                case ("block", name, usual):
                    own = self._blocks.get(name)
                    self._run(usual if own is None else own, dict(self._context))
                case ("include", name):
                    base, included = self._load(name)
                    if base or any(one[0] == "block" for one in included):
                        raise NotPlainError(name)
                    self._run(included, dict(scope))

    def _assign(self, target: str | tuple[str, ...], value: Any, scope: dict[str, Any]) -> None:
        if isinstance(target, str):
            scope[target] = value
        else:
            scope.update(zip(target, value, strict=True))

    def _value(self, expression: Tree, scope: Mapping[str, Any]) -> Any:
        match expression:
            case ("constant", value):
                return value
            case ("name", name):
                return scope[name]
            case ("list" | "tuple" as kind, items):
                return (_List if kind == "list" else tuple)(self._value(item, scope) for item in items)
            case ("attribute", of, name):
                owner = self._value(of, scope)
                if type(owner) not in (Namespace, _Variables):
                    raise TypeError(name)
                return getattr(owner, name)
            case ("item", of, key):
                owner = self._value(of, scope)
                if not isinstance(owner, (dict, list, str, tuple)):
                    raise TypeError(owner)
                return owner[self._value(key, scope)]
            case ("slice", parts):
                return slice(*(self._value(part, scope) for part in parts))
            case ("call", of, name, arguments):
                owner = self._value(of, scope)
                if name not in _METHODS.get(type(owner), ()):
                    raise TypeError(name)
                return getattr(owner, name)(*(self._value(one, scope) for one in arguments))
            case ("namespace", items):
                if "namespace" in scope:
                    raise TypeError
                return _Variables({name: self._value(item, scope) for name, item in items})
            case ("filter", name, arguments):
                return self._filters[name](*(self._value(one, scope) for one in arguments))
            case ("concat", items):
                return "".join(str(self._value(item, scope)) for item in items)
            case ("compare", first, others):
                left = self._value(first, scope)
                for operation, other in others:
                    right = self._value(other, scope)
                    if not _OPERATORS[operation](left, right):
                        return False
                    left = right
                return True
            case ("operator", name, left, right):
                return _OPERATORS[name](self._value(left, scope), self._value(right, scope))
            case ("and", left, right):
                return self._value(left, scope) and self._value(right, scope)
            case ("or", left, right):
                return self._value(left, scope) or self._value(right, scope)
            case ("not", one):
                return not self._value(one, scope)
            case ("choice", test, one, other):
                return self._value(one if self._value(test, scope) else other, scope)
        raise NotPlainError(expression[0])


@lru_cache(maxsize=64)
def _program(file: str, source: str, parse: Callable[[str], Any]) -> Program | None:
    """The program of a template's source, from the cache if its file had the same source before; None if it is not plain."""
    try:
        path = user_cache("launchers") / f"{zlib.crc32(repr((_FORMAT, file)).encode()):08x}.marshal"
    except RuntimeError:  # a user without a home directory
        return _compiled(parse(source))
    cached = read_from_cache(path, _LARGEST)
    if cached is not None:
        form, of_source, program = marshal.loads(cached)
        if (form, of_source) == (_FORMAT, source):
            return program  # type: ignore[no-any-return]
    program = _compiled(parse(source))
    write_to_cache(path, marshal.dumps((_FORMAT, source, program)), most=_MOST)
    return program


def _compiled(template: Any) -> Program | None:
    """The program of a syntax tree of Jinja2; None if it is not plain."""
    try:
        extends = [one for one in template.body if _kind(one) == "Extends"]
        if not extends:
            return "", _body(template.body, is_whole=True)
        rest = [one for one in template.body if one is not extends[0] and not _is_blank(one)]
        if any(_kind(one) != "Block" for one in rest):  # it would be run before the base
            return None
        return _name(extends[0].template), _body(rest, is_whole=True)
    except NotPlainError:
        return None


def _kind(node: Any) -> str:
    return type(node).__name__


def _is_blank(node: Any) -> bool:
    return _kind(node) == "Output" and all(_kind(one) == "TemplateData" and not one.data.strip() for one in node.nodes)


def _name(node: Any) -> str:
    """The name of a template that a template extends or includes."""
    name = node.value if _kind(node) == "Const" else None
    if not isinstance(name, str) or "/" in name or "\\" in name or name in ("", ".."):
        raise NotPlainError
    return name


def _only(node: Any, **expected: Any) -> None:
    """Check the parts of a node that the interpreter does not know."""
    if any(getattr(node, name) != value for name, value in expected.items()):
        raise NotPlainError


def _body(nodes: Sequence[Any], *, is_whole: bool = False) -> tuple[Tree, ...]:
    found = tuple(one for node in nodes for one in _statements(node))
    if is_whole and any(_kind(block) == "Block" for node in nodes for block in _all(node)):
        # Blocks see what is assigned outside of blocks; the interpreter does not know that.
        outside = [node for node in nodes if _kind(node) != "Block"]
        if any(_kind(one) in ("Assign", "For") for node in outside for one in _all(node) if _kind(node) != "For"):
            raise NotPlainError
    return found


def _all(node: Any) -> list[Any]:
    return [node, *(inner for child in node.iter_child_nodes() for inner in _all(child))]


def _statements(node: Any) -> list[Tree]:
    kind = _kind(node)
    if kind == "Output":
        return [
            ("text", one.data) if _kind(one) == "TemplateData" else ("print", _expression(one)) for one in node.nodes
        ]
    if kind == "If":
        branches = [(node.test, node.body), *((one.test, one.body) for one in node.elif_)]
        otherwise = (("constant", True), _body(node.else_))
        return [("if", (*((_expression(test), _body(body)) for test, body in branches), otherwise))]
    if kind == "For":
        _only(node, else_=[], recursive=False)
        test = ("constant", True) if node.test is None else _expression(node.test)
        return [("for", _target(node.target), _expression(node.iter), test, _body(node.body))]
    if kind == "Assign" and _kind(node.target) == "NSRef":
        return [("set attribute", node.target.name, _attribute(node.target.attr), _expression(node.node))]
    if kind == "Assign":
        return [("set", _target(node.target), _expression(node.node))]
    if kind == "Block":
        _only(node, scoped=False, required=False)
        if any(_kind(one) == "Block" for child in node.body for one in _all(child)):
            raise NotPlainError
        return [("block", node.name, _body(node.body))]
    if kind == "Include":
        _only(node, with_context=True, ignore_missing=False)
        return [("include", _name(node.template))]
    raise NotPlainError(kind)


def _target(node: Any) -> str | tuple[str, ...]:
    if _kind(node) == "Tuple":
        return tuple(_variable(one) for one in node.items)
    return _variable(node)


def _variable(node: Any) -> str:
    if _kind(node) != "Name" or node.name in _RESERVED:
        raise NotPlainError
    return str(node.name)


def _attribute(name: str) -> str:
    if name.startswith("_"):  # the sandbox refuses it
        raise NotPlainError
    return name


def _expression(node: Any) -> Tree:
    kind = _kind(node)
    if kind == "Const":
        return "constant", node.value
    if kind == "Name":
        return "name", _variable(node)
    if kind in ("List", "Tuple"):
        return kind.lower(), tuple(map(_expression, node.items))
    if kind == "Getattr":
        return "attribute", _expression(node.node), _attribute(node.attr)
    if kind == "Getitem" and _kind(node.arg) == "Slice":
        parts = (node.arg.start, node.arg.stop, node.arg.step)
        return (
            "item",
            _expression(node.node),
            ("slice", tuple(("constant", None) if one is None else _expression(one) for one in parts)),
        )
    if kind == "Getitem":
        return "item", _expression(node.node), _expression(node.arg)
    if kind == "Call":
        return _call(node)
    if kind == "Filter":
        return _filter(node)
    if kind == "Concat":
        return "concat", tuple(map(_expression, node.nodes))
    if kind == "Compare":
        return "compare", _expression(node.expr), tuple((one.op, _expression(one.expr)) for one in node.ops)
    if kind in _OPERATORS:
        return "operator", kind, _expression(node.left), _expression(node.right)
    if kind in ("And", "Or"):
        return kind.lower(), _expression(node.left), _expression(node.right)
    if kind == "Not":
        return "not", _expression(node.node)
    if kind == "CondExpr" and node.expr2 is not None:
        return "choice", _expression(node.test), _expression(node.expr1), _expression(node.expr2)
    raise NotPlainError(kind)


def _call(node: Any) -> Tree:
    _only(node, dyn_args=None, dyn_kwargs=None)
    if _kind(node.node) == "Getattr":
        _only(node, kwargs=[])
        return "call", _expression(node.node.node), _attribute(node.node.attr), tuple(map(_expression, node.args))
    if _kind(node.node) == "Name" and node.node.name == "namespace":
        _only(node, args=[])
        return "namespace", tuple((_attribute(one.key), _expression(one.value)) for one in node.kwargs)
    raise NotPlainError


def _filter(node: Any) -> Tree:
    _only(node, kwargs=[], dyn_args=None, dyn_kwargs=None)
    if node.node is None:  # of a block `{% filter %}`
        raise NotPlainError
    arguments = tuple(map(_expression, (node.node, *node.args)))
    if node.name == "map" and arguments[1:] == (("constant", "sh"),):
        return "filter", "list", arguments[:1]
    return "filter", node.name, arguments
