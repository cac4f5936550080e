r"""`${...}`: a value that is computed from others, as a template that can be evaluated many times.

`${name}` and `$<name>` refer to a parameter, `$(...)$` is an expression, `\${`, `\$<` and `\$(` are those characters
themselves. A backslash before such a bracket is written twice, as in a shell. A template lists the names that it needs and
is a syntax tree over identifiers, so that the templates of a whole experiment can be joined into one function (dlbs/plan/compile.py).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from types import CodeType
from typing import Any

from dlbs.errors import ExpressionError
from dlbs.language.prices import MAX_DEPTH

__all__ = ["OPENING", "Reference", "Template", "escape", "is_template"]

OPENING = re.compile(r"(?<!\\)(\\*)\$([{<(])")  # the look-behind keeps long runs of backslashes linear
_MAX_ELEMENTS = 1_000_000  # of one value, as written


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${...}` of a template."""

    raw: str  # the text between the brackets: the parameter's name, unless that is computed
    name_template: Template | None  # of the name if it is computed: `${${exp.framework}.args}`
    as_value: bool  # whether its typed value is used
    as_text: bool  # whether its text is used

    @property
    def name(self) -> str | None:
        """The parameter's name if it is constant."""
        return self.raw if self.name_template is None else None


@dataclass(frozen=True)
class Template:
    """A value that is computed from other values."""

    source: Any  # the value as written
    tree: ast.expr  # over `value_identifier(raw)` and `text_identifier(raw)` of the references
    references: tuple[Reference, ...]  # in order of first use
    volatile: bool  # each evaluation gives a new value
    guarded: bool  # it spends from the work budget
    grows: bool  # the result can be larger than each of its parts, so its size must be checked

    @property
    def is_text(self) -> bool:
        """Whether the result is always a text."""
        return isinstance(self.tree, ast.JoinedStr) or (self.is_literal and isinstance(self.literal, str))

    @property
    def is_reference(self) -> bool:
        """Whether it is exactly one reference."""
        return isinstance(self.tree, ast.Name)

    @property
    def is_literal(self) -> bool:
        """Whether the value is constant: `literal`."""
        return isinstance(self.tree, ast.Constant)

    @property
    def literal(self) -> Any:
        return self.tree.value if isinstance(self.tree, ast.Constant) else None

    @cached_property
    def code(self) -> CodeType:
        """The expression, for `eval`."""
        try:
            return compile(ast.fix_missing_locations(ast.Expression(self.tree)), "<parameter>", "eval")
        except (MemoryError, RecursionError, SyntaxError) as error:
            raise ExpressionError(f"value is too complicated: {error}") from None


def escape(value: Any) -> Any:
    r"""Return `value` written so that resolving it gives `value` again: `${` becomes `\${`, in lists and dicts too."""
    if isinstance(value, str):
        return OPENING.sub(lambda found: found[1] * 2 + "\\$" + found[2], value) if "$" in value else value
    if isinstance(value, list):
        return [escape(item) for item in value]
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    return value


def is_template(value: Any) -> bool:
    """Whether a raw value may differ from its final one: a quick test, `parse` decides.

    Raises:
        ExpressionError: It is too deep or too large to be a parameter's value.
    """
    if value.__class__ is str:
        return "$" in value and OPENING.search(value) is not None
    if not isinstance(value, (list, dict)):
        return False
    found, elements, level, depth = False, 0, [value], 0
    while level:  # level by level, so that depth costs no recursion
        depth += 1
        inner: list[Any] = []
        for container in level:
            elements += len(container)
            if depth > MAX_DEPTH or elements > _MAX_ELEMENTS:
                raise ExpressionError(
                    f"value of more than {_MAX_ELEMENTS:,} elements, or nested more than {MAX_DEPTH} deep"
                )
            for item in container.values() if isinstance(container, dict) else container:
                if isinstance(item, (list, dict)):
                    inner.append(item)
                elif not found and isinstance(item, str):
                    found = is_template(item)
        level = inner
    return found
