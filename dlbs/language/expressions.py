"""`$(...)$`: compile the safe subset of Python that expressions are written in.

An expression is parsed, every node is checked against an allow-list, and operations whose work could explode are
replaced by calls of their guarded forms (`guards.py`). What comes out is a syntax tree over plain names, which the
caller binds to the values of references; nothing that was in a value is ever parsed.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlbs.errors import ExpressionError, did_you_mean
from dlbs.language.functions import FUNCTIONS, METHOD_NAMES, VOLATILE, call_method
from dlbs.language.limits import OPERATORS, WORK, check_size, joined, loop, sized
from dlbs.text import text

__all__ = ["MAX_EXPRESSION", "NAMESPACE", "Expression", "compile_expression", "function_identifier"]

MAX_EXPRESSION = 10_000  # characters

_PLAIN_NODES = (
    ast.Constant, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.Invert,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn,
    ast.IfExp, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Subscript, ast.Slice, ast.Load, ast.Store,
    ast.Sub, ast.Div, ast.FloorDiv, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor,
)  # fmt: skip

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

_KEYWORDS = {"reverse", "default", "sort_keys", "maxsplit", "count", "start", "strict"}


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes:
        tree: Syntax tree over the identifiers of references and the names in `NAMESPACE`.
        volatile: Whether it gives a new value every time (`uuid4()`).
        guarded: Whether it spends from the work budget.
        functions: Names of the functions that it calls.
    """

    tree: ast.expr
    volatile: bool
    guarded: bool
    functions: frozenset[str]


def function_identifier(name: str) -> str:
    """The name under which a function stands in the namespace of compiled code: `re.sub` → `f_re_sub`."""
    return "f_" + name.replace(".", "_")


NAMESPACE: dict[str, Any] = {
    "__builtins__": {},
    "call_method": call_method,
    "check_size": check_size,
    "joined": joined,
    "sized": sized,
    "text": text,
    "loop": loop,
    "work": WORK,
    **{f"op_{name}": function for name, function in OPERATORS.items()},
    **{function_identifier(name): function for name, function in FUNCTIONS.items()},
}


def compile_expression(
    body: str,
    typed: Mapping[str, str],
    texts: Mapping[str, str],
    split_text: Callable[[str], list[str]],
) -> Expression:
    """Check the Python text of an expression and return its guarded tree.

    Args:
        body: The text between `$(` and `)$`, each reference replaced by a placeholder identifier.
        typed: Placeholder → identifier of the reference's typed value.
        texts: Placeholder → identifier of the reference's text.
        split_text: Cuts a string literal at its placeholders: texts and placeholders in turn.

    Raises:
        SyntaxError: It is not a Python expression (so the caller may look for a later end of it).
        ExpressionError: It is Python, but not allowed.
    """
    if len(body) > MAX_EXPRESSION:
        raise ExpressionError(f"expression of {len(body):,} characters; at most {MAX_EXPRESSION:,} are allowed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # `'' is False`, invalid escapes in regular expressions
        try:
            tree = ast.parse(f"({body}\n)", mode="eval").body
        except (MemoryError, RecursionError, ValueError) as error:
            raise ExpressionError(f"expression cannot be parsed: {error or 'nested too deeply'}") from None
    checker = _Checker(typed, texts, split_text)
    try:
        checked = checker.visit(tree)
    except RecursionError:
        raise ExpressionError("expression is nested too deeply") from None
    return Expression(checked, bool(checker.functions & VOLATILE), checker.guarded, frozenset(checker.functions))


class _Checker(ast.NodeTransformer):
    """Refuses what is not on the lists and puts guards where they are needed."""

    def __init__(
        self, typed: Mapping[str, str], texts: Mapping[str, str], split_text: Callable[[str], list[str]]
    ) -> None:
        self.typed = typed
        self.texts = texts
        self.split_text = split_text
        self.local: list[str] = []
        self.functions: set[str] = set()
        self.guarded = False
        self.comprehensions = 0

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _PLAIN_NODES):
            raise ExpressionError(
                f"{_describe(node)} is not allowed in an expression",
                hint="allowed are literals, operators, comparisons, conditionals, indexing, displays, comprehensions, "
                "string methods and the listed functions",
            )
        return super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):
            return self._text(node.value)
        if node.value is None or isinstance(node.value, (bool, int, float)):
            return node
        raise ExpressionError(f"a literal of type {type(node.value).__name__} is not allowed in an expression")

    def _text(self, literal: str) -> ast.expr:
        parts = self.split_text(literal)
        if len(parts) == 1:
            return ast.Constant(literal)
        values: list[ast.expr] = []
        for position, part in enumerate(parts):
            if position % 2:
                values.append(ast.FormattedValue(ast.Name(self.texts[part], ast.Load()), conversion=-1))
            elif part:
                values.append(ast.Constant(part))
        if len(values) == 1 and isinstance(values[0], ast.FormattedValue):
            return values[0].value
        self.guarded = True
        return ast.Call(ast.Name("sized", ast.Load()), [ast.JoinedStr(values)], [])

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.typed:
            if isinstance(node.ctx, ast.Store):
                raise ExpressionError("a reference cannot be assigned to")
            return ast.Name(self.typed[node.id], node.ctx)
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
        if dotted and not dotted.startswith("_") and "__" not in dotted:
            raise ExpressionError(f"unknown name {dotted!r}", hint=f"a parameter is referred to as ${{{dotted}}}")
        raise ExpressionError(f"attribute {node.attr!r} is not allowed in an expression", hint="methods can be called")

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
            name = ast.Name(function_identifier(dotted), ast.Load())
            return ast.Call(name, [self.visit(argument) for argument in node.args], keywords)
        if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value, self.local, self.typed):
            method = node.func.attr
            if method not in METHOD_NAMES:
                raise ExpressionError(
                    f"method {method!r} is not allowed in an expression", hint=did_you_mean(method, METHOD_NAMES)
                )
            arguments = [self.visit(node.func.value), ast.Constant(method), *map(self.visit, node.args)]
            return ast.Call(ast.Name("call_method", ast.Load()), arguments, keywords)
        shown = dotted or ast.unparse(node.func)[:60]
        raise ExpressionError(
            f"function {shown!r} is not allowed in an expression", hint=did_you_mean(shown, FUNCTIONS)
        )

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        operator = type(node.op).__name__
        if operator in OPERATORS:
            self.guarded = True
            return ast.Call(ast.Name(f"op_{operator}", ast.Load()), [left, right], [])
        if not isinstance(node.op, _PLAIN_NODES):
            raise ExpressionError(f"operator {operator} is not allowed in an expression")
        return ast.BinOp(left, node.op, right)

    def _comprehension(self, node: Any) -> ast.expr:
        # Python evaluates generators first; their targets are then in scope for the element.
        self.guarded = True
        outer = list(self.local)
        self.comprehensions += 1
        if self.comprehensions > 4:
            raise ExpressionError("more than four comprehensions in one expression")
        generators = []
        for generator in node.generators:
            if generator.is_async:
                raise ExpressionError("async is not allowed in an expression")
            source = self.visit(generator.iter)
            for name in ast.walk(generator.target):
                if isinstance(name, ast.Name):
                    if name.id.startswith("_") or name.id in self.typed:
                        raise ExpressionError(f"bad variable name {name.id!r} in a comprehension")
                    self.local.append(name.id)
                elif not isinstance(name, (ast.Tuple, ast.Store)):
                    raise ExpressionError("comprehension variables are names")
            looped = ast.Call(ast.Name("loop", ast.Load()), [source], [])
            conditions = [self.visit(condition) for condition in generator.ifs]
            generators.append(ast.comprehension(self.visit(generator.target), looped, conditions, 0))
        elements = {
            field: self.visit(getattr(node, field)) for field in ("elt", "key", "value") if hasattr(node, field)
        }
        self.local = outer
        return type(node)(**elements, generators=generators)  # type: ignore[no-any-return]

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        if any(key is None for key in node.keys):
            raise ExpressionError("** is not allowed in an expression")
        return self.generic_visit(node)


def _dotted(node: ast.expr) -> str:
    """`os.path.join` for a chain of plain names, else an empty string."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(names)])


def _is_module(node: ast.expr, local: list[str], typed: Mapping[str, str]) -> bool:
    root = _dotted(node).split(".")[0]
    return bool(root) and root not in local and root not in typed


def _describe(node: ast.AST) -> str:
    names = {"JoinedStr": "an f-string", "Lambda": "lambda", "NamedExpr": ":=", "Starred": "*", "Await": "await"}
    return names.get(type(node).__name__, type(node).__name__)
