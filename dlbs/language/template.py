r"""`${...}`: parse the text of one value into a template that can be evaluated many times.

`${name}` and `$<name>` refer to a parameter, `$(...)$` is an expression, `\${`, `\$<` and `\$(` are those characters
themselves. A backslash before such a bracket is written twice, as in a shell. A template knows which names it needs and
is a syntax tree over identifiers, so that the processor can join the templates of a whole experiment into one function.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlbs.errors import ExpressionError
from dlbs.language.expressions import compile_expression

__all__ = [
    "Reference",
    "Template",
    "escape",
    "has_references",
    "is_template",
    "parse",
    "text_identifier",
    "value_identifier",
]

_OPENING = re.compile(r"(\\*)\$([{<(])")

_NAME_PART = re.compile(r"[\w.\-]+")

_CLOSING = {"{": "}", "<": ">"}

_MAX_ENDS = 50  # candidate `)$` tried for one expression

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
        functions: Functions called.
    """

    source: Any
    tree: ast.expr
    references: tuple[Reference, ...]
    volatile: bool
    guarded: bool
    grows: bool
    is_text: bool
    functions: frozenset[str]

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
        function: Callable[..., Any] = eval(compile(tree, "<parameter>", "eval"), dict(namespace))
        return function


def _encode(name: str) -> str:
    """A Python identifier for any text; different texts get different ones."""
    return "".join(
        letter if letter.isascii() and letter.isalnum() else "__" if letter == "_" else f"_{ord(letter):x}_"
        for letter in name
    )


def value_identifier(name: str) -> str:
    """The Python name of a parameter's typed value in compiled code."""
    return "v_" + _encode(name)


def text_identifier(name: str) -> str:
    """The Python name of a parameter's text in compiled code."""
    return "t_" + _encode(name)


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
    """Whether a raw value may differ from its final one: a quick look, `parse` decides."""
    if value.__class__ is str:
        return "$" in value and _OPENING.search(value) is not None
    if isinstance(value, list):
        return any(map(is_template, value))
    if isinstance(value, dict):
        return any(map(is_template, value.values()))
    return False


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
    parser = _Parser()
    tree = ast.fix_missing_locations(ast.Expression(parser.value(value))).body
    return Template(
        source=value,
        tree=tree,
        references=tuple(
            Reference(raw, *parser.names[raw], as_value=use[0], as_text=use[1]) for raw, use in parser.uses.items()
        ),
        volatile=parser.volatile,
        guarded=parser.guarded,
        grows=parser.guarded or _count_names(tree) > 1,
        is_text=isinstance(tree, ast.JoinedStr) or (isinstance(tree, ast.Constant) and isinstance(tree.value, str)),
        functions=frozenset(parser.functions),
    )


def _count_names(tree: ast.expr) -> int:
    """How often references are used."""
    return sum(isinstance(node, ast.Name) and node.id[:2] in {"v_", "t_"} for node in ast.walk(tree))


@dataclass(frozen=True, slots=True)
class _Mention:
    """A reference among the parts of a text."""

    raw: str


class _Parser:
    """Walks one value and collects what it needs."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[str | None, Template | None]] = {}
        self.uses: dict[str, list[bool]] = {}
        self.volatile = False
        self.guarded = False
        self.functions: set[str] = set()

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
        while (found := _OPENING.search(source, position)) is not None:
            backslashes, bracket = found[1], found[2]
            parts.append(source[position : found.start()] + backslashes[: len(backslashes) // 2])
            position = found.end()
            if len(backslashes) % 2:
                parts.append("$" + bracket)
            elif bracket == "(":
                expression, end = self.expression(source, position)
                parts.append("$(" if expression is None else expression)
                position = end
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
        return self._joined(parts)

    def _joined(self, parts: list[str | ast.expr | _Mention]) -> ast.expr:
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
                values.append(ast.Call(ast.Name("text", ast.Load()), [part], []))
        if len(values) > _JOIN_CHECKED:
            return ast.Call(ast.Name("joined", ast.Load()), values, [])
        return ast.JoinedStr(
            [value if isinstance(value, ast.Constant) else ast.FormattedValue(value, -1) for value in values]
        )

    def _use(self, raw: str, *, as_text: bool) -> None:
        """Note that a reference's text or typed value is needed."""
        self.uses.setdefault(raw, [False, False])[as_text] = True

    def reference(self, source: str, start: int, bracket: str) -> tuple[str, int]:
        """Parse a reference whose name begins at `start`; return what stands inside and where it ends."""
        position, dynamic = start, False
        closing = _CLOSING[bracket]
        while position < len(source) and source[position] != closing:
            if source.startswith(("${", "$<"), position):
                _, position = _skip_reference(source, position)
                dynamic = True
                continue
            part = _NAME_PART.match(source, position)
            if part is None:
                inside = source[start:].split(closing)[0]
                raise ExpressionError(
                    f"{inside[:80]!r} in ${bracket}...{closing} is not a parameter name",
                    hint=f"write \\${bracket} for the characters themselves",
                )
            position = part.end()
        raw = source[start:position]
        if position >= len(source) or not raw:
            what = "empty reference" if position < len(source) else "reference without its end"
            raise ExpressionError(
                f"{what}: ${bracket}{raw[:80]}",
                hint=f"close it with {closing}, or write \\${bracket} for the characters",
            )
        if raw not in self.names:
            self.names[raw] = (None, parse(raw)) if dynamic else (raw, None)
        return raw, position + 1

    def expression(self, source: str, start: int) -> tuple[ast.expr | None, int]:
        """Parse an expression whose Python text begins at `start`; None and `start` if it has no end."""
        prefix = "ref"
        while prefix in source:
            prefix += "q"
        body: list[str] = []
        typed: dict[str, str] = {}
        position, failed, ends = start, None, 0
        pattern = re.compile(r"(\\?)\$[{<(]|\)\$")
        while ends < _MAX_ENDS:
            found = pattern.search(source, position)
            if found is None:
                break
            body.append(source[position : found.start()])
            position = found.end()
            if found[0] == ")$":
                expression, failed_here = self._try("".join(body), prefix, typed)
                if expression is not None:
                    return expression, position
                failed, ends = failed or failed_here, ends + 1
                body.append(")$")
            elif found[1] or found[0] == "$(":
                body.append(found[0].lstrip("\\"))
            else:
                raw, position = self.reference(source, position, found[0][1])
                placeholder = f"{prefix}{len(typed)}x"
                typed[placeholder] = raw
                body.append(placeholder)
        if failed is None:
            return None, start
        text = source[start : start + 120]
        raise ExpressionError(f"expression $({text}: {failed.msg}", hint="write \\$( for the characters themselves")

    def _try(self, body: str, prefix: str, raws: Mapping[str, str]) -> tuple[ast.expr | None, SyntaxError | None]:
        placeholder = re.compile(f"({prefix}\\d+x)")
        try:
            expression = compile_expression(
                body,
                {name: value_identifier(raw) for name, raw in raws.items()},
                {name: text_identifier(raw) for name, raw in raws.items()},
                placeholder.split,
            )
        except SyntaxError as error:
            return None, error
        self.volatile |= expression.volatile
        self.guarded |= expression.guarded
        self.functions |= expression.functions
        used = {node.id for node in ast.walk(expression.tree) if isinstance(node, ast.Name)}
        for raw in raws.values():
            use = self.uses.setdefault(raw, [False, False])
            use[False] |= value_identifier(raw) in used
            use[True] |= text_identifier(raw) in used
        return expression.tree, None


def _skip_reference(source: str, position: int) -> tuple[str, int]:
    """Return the nested reference that begins at `position` and where it ends."""
    return _Parser().reference(source, position + 2, source[position + 1])
