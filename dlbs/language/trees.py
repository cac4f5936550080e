"""Identifiers and syntax tree fragments of compiled code."""

from __future__ import annotations

import ast
import re
from collections.abc import Set
from typing import Any

__all__ = ["call", "function_identifier", "has_calls", "split", "text_identifier", "text_tree", "value_identifier"]

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
