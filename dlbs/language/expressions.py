"""`$(...)$`: compile the safe subset of Python that expressions are written in.

An expression is parsed, every node is checked against an allow-list, and operations whose work could explode are
replaced by calls that pay for their work (`limits.py`). The result is a syntax tree over plain names, which the
caller binds to the values of references; the content of a value is never parsed.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from dlbs.core.errors import ExpressionError, did_you_mean
from dlbs.core.text import text
from dlbs.language.functions import FUNCTIONS, METHOD_NAMES, VOLATILE, call_method
from dlbs.language.limits import (
    METER,
    OPERATORS,
    as_text,
    bounded,
    check_size,
    dict_of,
    factor,
    joined,
    loop,
    paid,
    searched,
    set_of,
    sized,
)

_MAX_FORMATTED = 16  # above this number of parts the size is checked before the text is produced


_OTHERS = re.compile("[^A-Za-z0-9]")


def _encode(name: str) -> str:
    """A Python identifier for any text; different texts get different ones."""
    return _OTHERS.sub(lambda other: "__" if other[0] == "_" else f"_{ord(other[0]):x}_", name)


def value_identifier(name: str) -> str:
    """The Python name of a parameter's typed value in compiled code."""
    return "v_" + _encode(name)


def text_identifier(name: str) -> str:
    """The Python name of a parameter's text in compiled code."""
    return "t_" + _encode(name)


def function_identifier(name: str) -> str:
    """The name of a function in the namespace of compiled code: `re.sub` → `f_re_sub`."""
    return "f_" + name.replace(".", "_")


def call(function: str, *arguments: ast.expr, keywords: list[ast.keyword] | None = None) -> ast.Call:
    """A call of a function in the namespace of compiled code."""
    return ast.Call(ast.Name(function, ast.Load()), list(arguments), keywords or [])


def text_tree(parts: list[ast.expr]) -> ast.expr:
    """The concatenation of constants and texts."""
    if len(parts) > _MAX_FORMATTED:
        return call("joined", *parts)
    return ast.JoinedStr([part if isinstance(part, ast.Constant) else ast.FormattedValue(part, -1) for part in parts])


def has_calls(tree: ast.expr) -> bool:
    """Whether a tree calls functions: nothing else spends from the work budget."""
    return any(isinstance(node, ast.Call) for node in ast.walk(tree))


def split(tree: ast.expr, changing: Set[str], prefix: str) -> tuple[ast.expr, dict[str, ast.expr]]:
    """Take the expressions that use no changing identifier out of a text, list or dictionary.

    Returns:
        The tree with an identifier in place of each such expression, and the expressions by identifier. Expressions that are evaluated
        only sometimes remain where they are.
    """
    steady: dict[str, ast.expr] = {}

    def rest(node: Any) -> Any:
        match node:
            case ast.Name() | ast.Constant():
                return node
            case ast.JoinedStr():
                return ast.JoinedStr([rest(part) for part in node.values])
            case ast.FormattedValue():
                return ast.FormattedValue(rest(node.value), node.conversion)
            case ast.List():
                return ast.List([rest(item) for item in node.elts], ast.Load())
            case ast.Dict():
                return ast.Dict(node.keys, [rest(item) for item in node.values])
        if any(isinstance(part, ast.Name) and part.id in changing for part in ast.walk(node)):
            return node
        identifier = f"{prefix}_{len(steady)}"
        steady[identifier] = node
        return ast.Name(identifier, ast.Load())

    return rest(tree), steady


_MAX_EXPRESSION = 10_000  # characters
_MAX_DEPTH = 150  # operations inside each other: Python's own compiler is recursive
_MAX_LOOPS = 8

_PLAIN_NODES = (
    ast.Constant, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.Invert,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn,
    ast.IfExp, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Subscript, ast.Slice, ast.Load, ast.Store,
)  # fmt: skip

_KEYWORDS = {"reverse", "default", "sort_keys", "maxsplit", "count", "start", "strict"}


class Expression(NamedTuple):
    """A checked expression."""

    tree: ast.expr  # over the identifiers of references and the names in `NAMESPACE`
    volatile: bool  # each evaluation gives a new value (`uuid4()`)
    guarded: bool  # it spends from the work budget


NAMESPACE: dict[str, Any] = {
    "__builtins__": {},
    "as_text": as_text,
    "call_method": call_method,
    "check_size": check_size,
    "dict_of": dict_of,
    "factor": factor,
    "joined": joined,
    "loop": loop,
    "meter": METER,
    "paid": paid,
    "searched": searched,
    "set_of": set_of,
    "sized": sized,
    "text": text,
    **{f"op_{name}": function for name, function in OPERATORS.items()},
    **{function_identifier(name): function for name, function in FUNCTIONS.items()},
}


def compile_expression(body: str, references: Mapping[str, str], placeholder: re.Pattern[str]) -> Expression:
    """Check the Python text of an expression and return its guarded tree.

    Args:
        body: The text between `$(` and `)$`, each reference replaced by a placeholder identifier.
        references: Placeholder → text between the brackets of the reference.
        placeholder: Matches a placeholder, as one group.

    Raises:
        SyntaxError: It is not a Python expression (the caller may then try a later end).
        ExpressionError: It is Python, but not allowed.
    """
    if len(body) > _MAX_EXPRESSION:
        raise ExpressionError(f"expression of {len(body):,} characters; at most {_MAX_EXPRESSION:,} are allowed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # `'' is False`, invalid escapes in regular expressions
        try:
            tree = ast.parse(f"({body}\n)", mode="eval").body
        except (MemoryError, RecursionError, ValueError) as error:
            raise ExpressionError(f"expression cannot be parsed: {error or 'nested too deeply'}") from None
    checker = _Checker(references, placeholder)
    try:
        checked = checker.visit(tree)
    except ExpressionError as error:

        def as_written(message: str) -> str:
            return placeholder.sub(lambda found: f"${{{references.get(found[1], found[1])}}}", message)

        raise ExpressionError(as_written(error.what), hint=as_written(error.hint)) from None
    return Expression(checked, bool(checker.functions & VOLATILE), checker.guarded)


class _Checker(ast.NodeTransformer):
    """Rejects nodes that are not on the lists and adds guards where they are needed."""

    def __init__(self, references: Mapping[str, str], placeholder: re.Pattern[str]) -> None:
        self.references = references
        self.placeholder = placeholder
        self.local: list[str] = []
        self.functions: set[str] = set()
        self.guarded = False
        self.loops = 0  # comprehensions so far
        self.inside = 0  # enclosing comprehensions: their elements are evaluated many times
        self.depth = 0

    def visit(self, node: ast.AST) -> Any:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ExpressionError("expression is nested too deeply")
        visited = super().visit(node)
        self.depth -= 1
        return visited

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _PLAIN_NODES):
            raise ExpressionError(
                f"{_describe(node)} is not allowed in an expression",
                hint="use literals, operators, comparisons, conditionals, indexing, displays, comprehensions, "
                "string methods and the listed functions",
            )
        return super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):
            return self._text(node.value)
        if node.value is None or isinstance(node.value, (bool, float)):
            return node
        if isinstance(node.value, int):
            return ast.Constant(bounded(node.value))
        raise ExpressionError(f"a literal of type {type(node.value).__name__} is not allowed in an expression")

    def _text(self, literal: str) -> ast.expr:
        parts = self.placeholder.split(literal)
        if len(parts) == 1:
            return ast.Constant(literal)
        values: list[ast.expr] = [
            ast.Name(text_identifier(self.references[part]), ast.Load()) if position % 2 else ast.Constant(part)
            for position, part in enumerate(parts)
            if part
        ]
        if len(values) == 1:
            return values[0]
        self.guarded = True
        return call("sized", text_tree(values))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.references:
            if isinstance(node.ctx, ast.Store):
                raise ExpressionError("a reference cannot be assigned to")
            return ast.Name(value_identifier(self.references[node.id]), node.ctx)
        if node.id in self.local:
            return ast.Name(f"u_{node.id}", node.ctx)
        if node.id in FUNCTIONS:
            raise ExpressionError(f"{node.id} is a function: write {node.id}(...)")
        raise ExpressionError(
            f"unknown name {node.id!r}",
            hint=did_you_mean(node.id, [*self.local, *FUNCTIONS]) or "parameters are ${name}",
        )

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        dotted = _dotted(node)
        if dotted and "__" not in f"_{dotted}" and dotted.split(".")[0] not in self.references:
            raise ExpressionError(f"unknown name {dotted!r}", hint=f"a parameter is referred to as ${{{dotted}}}")
        raise ExpressionError(
            f"attribute {node.attr!r} is not allowed in an expression", hint="only methods can be used, as calls"
        )

    def visit_Call(self, node: ast.Call) -> ast.expr:
        dotted = _dotted(node.func)
        keywords = []
        for keyword in node.keywords:
            if keyword.arg not in _KEYWORDS:
                raise ExpressionError(f"argument {keyword.arg or '**'!r} is not allowed in an expression")
            keywords.append(ast.keyword(keyword.arg, self.visit(keyword.value)))
        self.guarded = True
        if dotted in FUNCTIONS and dotted.split(".")[0] not in self.local:
            self.functions.add(dotted)
            return call(function_identifier(dotted), *map(self.visit, node.args), keywords=keywords)
        if isinstance(node.func, ast.Attribute) and not self._is_module(node.func.value):
            method = node.func.attr
            if method not in METHOD_NAMES:
                raise ExpressionError(
                    f"method {method!r} is not allowed in an expression", hint=did_you_mean(method, METHOD_NAMES)
                )
            arguments = [self.visit(node.func.value), ast.Constant(method), *map(self.visit, node.args)]
            return call("call_method", *arguments, keywords=keywords)
        shown = dotted or ast.unparse(node.func)[:60]
        raise ExpressionError(
            f"function {shown!r} is not allowed in an expression", hint=did_you_mean(shown, FUNCTIONS)
        )

    def _is_module(self, node: ast.expr) -> bool:
        root = _dotted(node).split(".")[0]
        return bool(root) and root not in self.local and root not in self.references

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        operator = type(node.op).__name__
        if operator not in OPERATORS:
            raise ExpressionError(f"operator {operator} is not allowed in an expression")
        self.guarded = True
        return call(f"op_{operator}", *(self._operand(side, operator) for side in (node.left, node.right)))

    def _operand(self, side: ast.expr, operator: str) -> ast.expr:
        visited: ast.expr = self.visit(side)
        if operator == "Mult" and isinstance(side, ast.Name) and side.id in self.references:
            return call("factor", visited, ast.Constant(self.references[side.id]))
        return visited

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Charge comparisons: their cost grows with the size of the operands. Those with a short constant are cheap outside of loops."""
        visited: ast.Compare = self.generic_visit(node)  # type: ignore[assignment]
        if not self.inside and all(
            map(_is_cheap, visited.ops, [visited.left, *visited.comparators], visited.comparators)
        ):
            return visited
        self.guarded = True
        visited.left = call("paid", visited.left)
        visited.comparators = [
            call("searched" if isinstance(how, (ast.In, ast.NotIn)) else "paid", operand)
            for how, operand in zip(visited.ops, visited.comparators, strict=True)
        ]
        return visited

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        visited: ast.Subscript = self.generic_visit(node)  # type: ignore[assignment]
        if isinstance(node.slice, ast.Constant):
            return visited
        self.guarded = True
        if isinstance(node.slice, ast.Slice):
            return call("sized", visited)
        visited.slice = call("paid", visited.slice)  # a key of a dictionary is hashed
        return visited

    def _display(self, node: ast.expr) -> ast.AST:
        visited = self.generic_visit(node)
        return call("sized", visited) if self.inside and isinstance(visited, ast.expr) else visited

    visit_List = _display

    def visit_Set(self, node: ast.Set) -> ast.AST:
        self.guarded = True
        return call("set_of", ast.List([self.visit(item) for item in node.elts], ast.Load()))

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return self._display(node) if isinstance(node.ctx, ast.Load) else self.generic_visit(node)

    def _comprehension(self, node: Any) -> ast.expr:
        # Python evaluates generators first; their targets are then in scope for the element.
        self.guarded = True
        outer = list(self.local)
        self.loops += len(node.generators)
        if self.loops > _MAX_LOOPS:
            raise ExpressionError(f"more than {_MAX_LOOPS} loops (`for`) in one expression")
        cost = 1 + sum(1 for _ in ast.walk(node)) // 8
        generators = []
        for generator in node.generators:
            if generator.is_async:
                raise ExpressionError("async is not allowed in an expression")
            source = self.visit(generator.iter)
            self.inside += 1
            for name in ast.walk(generator.target):
                if isinstance(name, ast.Name):
                    if name.id.startswith("_") or name.id in self.references:
                        raise ExpressionError(f"bad variable name {name.id!r} in a comprehension")
                    self.local.append(name.id)
                elif not isinstance(name, (ast.Tuple, ast.Store)):
                    raise ExpressionError("comprehension variables are names")
            looped = call("loop", source, ast.Constant(cost))
            conditions = [self.visit(condition) for condition in generator.ifs]
            generators.append(ast.comprehension(self.visit(generator.target), looped, conditions, 0))
        elements = {
            field: self.visit(getattr(node, field)) for field in ("elt", "key", "value") if hasattr(node, field)
        }
        self.local = outer
        self.inside -= len(node.generators)
        if isinstance(node, ast.SetComp):
            return call("set_of", ast.ListComp(elements["elt"], generators))
        if isinstance(node, ast.DictComp):
            pair = ast.Tuple([elements["key"], elements["value"]], ast.Load())
            return call("dict_of", ast.ListComp(pair, generators))
        return type(node)(**elements, generators=generators)  # type: ignore[no-any-return]

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        if any(key is None for key in node.keys):
            raise ExpressionError("** is not allowed in an expression")
        made = self._display(node)
        if not all(isinstance(key, ast.Constant) for key in node.keys):
            self.guarded = True
            node.keys = [None if key is None else call("paid", key) for key in node.keys]
        return made


def _is_cheap(how: ast.cmpop, left: ast.expr, right: ast.expr) -> bool:
    """Whether a comparison takes little time, whatever the values of references are: a constant is compared, or sought among constants."""
    if isinstance(how, (ast.Is, ast.IsNot)):
        return True
    if isinstance(how, (ast.In, ast.NotIn)):
        constants = isinstance(right, (ast.List, ast.Tuple)) and all(
            isinstance(one, ast.Constant) for one in right.elts
        )
        return constants or _is_text(right)
    return _is_text(left) or _is_text(right)


def _is_text(node: ast.expr) -> bool:
    """Whether a node is a constant, or the text of a reference."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.startswith("t_"))


def _dotted(node: ast.expr) -> str:
    """`os.path.join` for a chain of plain names, else an empty string."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(names)])


def _describe(node: ast.AST) -> str:
    names = {"JoinedStr": "an f-string", "Lambda": "lambda", "NamedExpr": ":=", "Starred": "*", "Await": "await"}
    return names.get(type(node).__name__, type(node).__name__)
