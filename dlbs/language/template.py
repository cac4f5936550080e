r"""`${...}`: parse the text of one value into a template that can be evaluated many times.

`${name}` and `$<name>` refer to a parameter, `$(...)$` is an expression, `\${`, `\$<` and `\$(` are those characters
themselves. A backslash before such a bracket is written twice, as in a shell. A template knows which names it needs and
is a syntax tree over identifiers, so that the templates of a whole experiment can be joined into one function (dlbs/plan/compile.py).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlbs.errors import ExpressionError
from dlbs.language.expressions import MAX_EXPRESSION, Expression, compile_expression, text_identifier, value_identifier
from dlbs.language.limits import MAX_DEPTH, METER

__all__ = ["Reference", "Template", "escape", "has_references", "is_template", "parse"]

_OPENING = re.compile(r"(?<!\\)(\\*)\$([{<(])")  # the look-behind keeps long runs of backslashes linear
_NAME_PART = re.compile(r"[\w.\-]+")
_CLOSING = {"{": "}", "<": ">"}
_MAX_NESTED = 20  # references in the name of a reference
_MAX_ENDS = 50  # candidate `)$` tried for one expression
_MAX_ELEMENTS = 1_000_000  # of one value, as written
_JOIN_CHECKED = 16  # parts from which a text's size is checked before it is made


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${...}` of a template.

    Attributes:
        raw: What stands between the brackets; the parameter's name unless that is computed.
        name: The parameter's name if it is constant, else None.
        name_template: The template of the name if it is computed (`${${exp.framework}.args}`), else None.
        as_value: Whether its typed value is used.
        as_text: Whether its text is used.
    """

    raw: str
    name: str | None
    name_template: Template | None
    as_value: bool
    as_text: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A value that is computed from other values.

    Attributes:
        source: The value as written.
        tree: Syntax tree of the result over `value_identifier(raw)` and `text_identifier(raw)` of the references.
        references: What it needs, in order of first use.
        volatile: Whether each evaluation gives a new value.
        guarded: Whether it spends from the work budget.
        grows: Whether the result can be larger than each thing it is made of, so that its size must be checked.
        is_text: Whether the result is certainly a text.
        is_reference: Whether it is exactly one reference.
    """

    source: Any
    tree: ast.expr
    references: tuple[Reference, ...]
    volatile: bool
    guarded: bool
    grows: bool
    is_text: bool
    is_reference: bool

    @property
    def is_literal(self) -> bool:
        """Whether there is nothing to compute: the value is `literal`."""
        return isinstance(self.tree, ast.Constant)

    @property
    def literal(self) -> Any:
        return self.tree.value if isinstance(self.tree, ast.Constant) else None

    def identifiers(self) -> list[str]:
        """The names that `tree` needs bound: typed values and texts of the references."""
        names = []
        for reference in self.references:
            if reference.as_value:
                names.append(value_identifier(reference.raw))
            if reference.as_text:
                names.append(text_identifier(reference.raw))
        return names

    def compile(self, namespace: Mapping[str, Any]) -> Callable[..., Any]:
        """Return a function of the `identifiers()`, as keyword arguments, that gives the value."""
        names = [ast.arg(name, lineno=1, col_offset=0) for name in self.identifiers()]
        arguments = ast.arguments([], names, None, [], [], None, [])
        tree = ast.Expression(ast.Lambda(arguments, self.tree, lineno=1, col_offset=0))
        try:
            function: Callable[..., Any] = eval(compile(tree, "<parameter>", "eval"), dict(namespace))
        except (MemoryError, RecursionError, SyntaxError) as error:
            raise ExpressionError(f"value is too complicated: {error}") from None
        return function


def escape(value: Any) -> Any:
    r"""Return `value` written so that resolving it gives `value` again: `${` becomes `\${`, in lists and dicts too."""
    if isinstance(value, str):
        return _OPENING.sub(lambda found: found[1] * 2 + "\\$" + found[2], value) if "$" in value else value
    if isinstance(value, list):
        return [escape(item) for item in value]
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    return value


def is_template(value: Any) -> bool:
    """Whether a raw value may differ from its final one: a quick look, `parse` decides.

    Raises:
        ExpressionError: It is too deep or too large to be a parameter's value.
    """
    if value.__class__ is str:
        return "$" in value and _OPENING.search(value) is not None
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


def has_references(value: Any) -> bool:
    """Whether the final value depends on other parameters or changes with each evaluation."""
    if not is_template(value):
        return False
    template = parse(value)
    return bool(template.references) or template.volatile


def parse(value: Any) -> Template:
    """Compile a raw value (text, or a list or dict with texts inside).

    Raises:
        ExpressionError: A reference or expression is malformed or not allowed.
    """
    with METER:
        parser = _Parser()
        return parser.template(value, parser.value(value))


def _count_names(tree: ast.expr) -> int:
    """How often references are used."""
    return sum(isinstance(node, ast.Name) and node.id[:2] in {"v_", "t_"} for node in ast.walk(tree))


@dataclass(frozen=True, slots=True)
class _Mention:
    """A reference among the parts of a text."""

    raw: str


class _Parser:
    """Walks one value, from left to right and once, and collects what it needs."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[str | None, Template | None]] = {}
        self.uses: dict[str, list[bool]] = {}
        self.expressions: list[Expression] = []

    def template(self, source: Any, tree: ast.expr) -> Template:
        guarded = any(expression.guarded for expression in self.expressions)
        return Template(
            source=source,
            tree=ast.fix_missing_locations(ast.Expression(tree)).body,
            references=tuple(
                Reference(raw, *self.names[raw], as_value=use[0], as_text=use[1]) for raw, use in self.uses.items()
            ),
            volatile=any(expression.volatile for expression in self.expressions),
            guarded=guarded,
            grows=guarded or _count_names(tree) > 1,
            is_text=isinstance(tree, ast.JoinedStr) or (isinstance(tree, ast.Constant) and isinstance(tree.value, str)),
            is_reference=isinstance(tree, ast.Name) and tree.id.startswith("v_"),
        )

    def value(self, value: Any) -> ast.expr:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return ast.List([self.value(item) for item in value], ast.Load())
        if isinstance(value, dict):
            return ast.Dict([ast.Constant(key) for key in value], [self.value(item) for item in value.values()])
        return ast.Constant(value)

    def text(self, source: str) -> ast.expr:
        """A text is literals, references and expressions in turn; one alone keeps its type."""
        parts: list[str | ast.expr | _Mention] = []
        position = 0
        last_end = source.rfind(")$")
        # Identifiers that stand for references begin with what the text does not have.
        prefix = "ref" + "q" * max(map(len, re.findall("refq*", source)), default=0) if last_end >= 0 else ""
        while (found := _OPENING.search(source, position)) is not None:
            backslashes, bracket = found[1], found[2]
            parts.append(source[position : found.start()] + backslashes[: len(backslashes) // 2])
            position = found.end()
            if len(backslashes) % 2:
                parts.append("$" + bracket)
            elif bracket == "(" and position > last_end:
                parts.append("$(")
            elif bracket == "(":
                expression, position = self.expression(source, position, prefix)
                parts.append(expression)
            else:
                raw, position = self.reference(source, position, bracket)
                parts.append(_Mention(raw))
        parts.append(source[position:])
        parts = [part for part in parts if part != ""]
        if len(parts) == 1 and isinstance(parts[0], ast.expr):
            return parts[0]
        if len(parts) == 1 and isinstance(parts[0], _Mention):
            self._use(parts[0].raw, as_text=False)
            return ast.Name(value_identifier(parts[0].raw), ast.Load())
        return self.joined(parts)

    def joined(self, parts: list[str | ast.expr | _Mention]) -> ast.expr:
        if all(isinstance(part, str) for part in parts):
            return ast.Constant("".join(part for part in parts if isinstance(part, str)))
        values: list[ast.expr] = []
        for part in parts:
            if isinstance(part, str):
                values.append(ast.Constant(part))
            elif isinstance(part, _Mention):
                self._use(part.raw, as_text=True)
                values.append(ast.Name(text_identifier(part.raw), ast.Load()))
            else:
                values.append(ast.Call(ast.Name("as_text", ast.Load()), [part], []))
        if len(values) > _JOIN_CHECKED:
            return ast.Call(ast.Name("joined", ast.Load()), values, [])
        return ast.JoinedStr(
            [value if isinstance(value, ast.Constant) else ast.FormattedValue(value, -1) for value in values]
        )

    def _use(self, raw: str, *, as_text: bool) -> None:
        """Note that a reference's text or typed value is needed."""
        self.uses.setdefault(raw, [False, False])[as_text] = True

    def reference(self, source: str, start: int, bracket: str, depth: int = 1) -> tuple[str, int]:
        """Parse a reference whose name begins at `start`; return what stands inside and where it ends."""
        closing, position = _CLOSING[bracket], start
        name = _Parser()  # a name may hold references itself
        parts: list[str | ast.expr | _Mention] = []
        while True:
            part = _NAME_PART.match(source, position)
            if part is not None:
                parts.append(part[0])
                position = part.end()
            elif source.startswith(("${", "$<"), position):
                if depth == _MAX_NESTED:
                    raise ExpressionError(f"references are nested more than {_MAX_NESTED} deep")
                inner, position = name.reference(source, position + 2, source[position + 1], depth + 1)
                parts.append(_Mention(inner))
            else:
                break
        raw = source[start:position]
        if not source.startswith(closing, position):
            if source.find(closing, position) >= 0:
                what = f"{source[start : source.find(closing, position)][:80]!r} in ${bracket}...{closing} is not a parameter name"
                raise ExpressionError(what, hint=f"write \\${bracket} for the characters themselves")
            what = f"reference without its end: ${bracket}{source[start : start + 80]}"
        elif not raw:
            what = f"empty reference: ${bracket}{closing}"
        else:
            if raw not in self.names:
                self.names[raw] = (None, name.template(raw, name.joined(parts))) if name.names else (raw, None)
            return raw, position + 1
        raise ExpressionError(what, hint=f"close it with {closing}, or write \\${bracket} for the characters")

    def expression(self, source: str, start: int, prefix: str) -> tuple[ast.expr, int]:
        """Parse an expression whose Python text begins at `start`, up to the first `)$` that makes it complete."""
        placeholder = re.compile(f"({prefix}\\d+x)")
        pattern = re.compile(r"(\\?)\$[{<(]|\)\$")
        body: list[str] = []
        references: dict[str, str] = {}
        position, size, failed = start, 0, None
        for _ in range(_MAX_ENDS):
            while (found := pattern.search(source, position)) is not None and found[0] != ")$":
                body.append(source[position : found.start()])
                position = found.end()
                if found[1] or found[0] == "$(":
                    body.append(found[0].lstrip("\\"))
                else:
                    raw, position = self.reference(source, position, found[0][1])
                    references[f"{prefix}{len(references)}x"] = raw
                    body.append(f"{prefix}{len(references) - 1}x")
                size += len(body[-1]) + len(body[-2])
                if size > MAX_EXPRESSION:
                    raise ExpressionError(f"expression of more than {MAX_EXPRESSION:,} characters")
            if found is None:
                break
            body.append(source[position : found.start()])
            position = found.end()
            try:
                expression = compile_expression("".join(body), references, placeholder)
            except SyntaxError as error:
                failed = failed or error
                body.append(")$")
                size += len(body[-2]) + 2
                continue
            used = {node.id for node in ast.walk(expression.tree) if isinstance(node, ast.Name)}
            for raw in references.values():
                for as_text, identifier in enumerate((value_identifier(raw), text_identifier(raw))):
                    if identifier in used:
                        self._use(raw, as_text=bool(as_text))
            self.expressions.append(expression)
            return expression.tree, position
        message = failed.msg if failed is not None else "no end"
        raise ExpressionError(
            f"expression $({source[start : start + 120]}: {message}", hint="write \\$( for the characters themselves"
        )
