r"""`${...}`: a value that is computed from others, as a template that can be evaluated many times.

`${name}` and `$<name>` refer to a parameter, `$(...)$` is an expression, `\${`, `\$<` and `\$(` are those characters
themselves. A backslash before such a bracket is written twice, as in a shell. A template lists the names that it needs and
is a syntax tree over identifiers, so that the templates of a whole experiment can be joined into one function (dlbs/plan/compile.py).
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import CodeType
from typing import Any, NamedTuple

from dlbs.core.errors import ExpressionError
from dlbs.language.expressions import Expression, call, compile_expression, text_identifier, text_tree, value_identifier
from dlbs.language.limits import MAX_DEPTH, METER

OPENING = re.compile(r"(?<!\\)(\\*)\$([{<(])")  # the look-behind keeps long runs of backslashes linear
_MAX_ELEMENTS = 1_000_000  # of one value, as written


class Reference(NamedTuple):
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
    return map_texts(value, lambda words: OPENING.sub(lambda found: found[1] * 2 + "\\$" + found[2], words))


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with each of its texts changed, in lists and dicts too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {key: map_texts(item, change) for key, item in value.items()}
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


_NAME_PART = re.compile(r"[\w.\-]+")
_INSIDE = re.compile(r"(\\?)\$[{<(]|\)\$")  # tokens with a meaning in an expression
_CLOSING = {"{": "}", "<": ">"}
_NO_CONTAINERS = (ast.Compare, ast.Constant, ast.JoinedStr)  # the text of their values is free
_REMEMBERED = 500  # longest text, in characters, whose template is cached
_MAX_NESTED = 20  # references in the name of a reference
_MAX_ENDS = 50  # candidate `)$` tried for one expression


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
    return _parse_text(value) if value.__class__ is str and len(value) <= _REMEMBERED else _parse(value)


def _parse(value: Any) -> Template:
    with METER:
        parser = _Parser()
        return parser.template(value, parser.value(value))


@functools.lru_cache(maxsize=1024)
def _parse_text(text: str) -> Template:
    """Cached: values of the shipped configuration are parsed when it is loaded and again by each plan. Templates are immutable."""
    return _parse(text)


class _Part(NamedTuple):
    """A part of a text."""

    alone: ast.expr  # its value if it is all of the text
    joined: ast.expr  # its text among others


def _literal(text: str) -> _Part:
    return _Part(ast.Constant(text), ast.Constant(text))


def _mention(raw: str) -> _Part:
    return _Part(ast.Name(value_identifier(raw), ast.Load()), ast.Name(text_identifier(raw), ast.Load()))


def _join(parts: list[_Part]) -> ast.expr:
    texts = [part.joined for part in parts]
    literals = [str(one.value) for one in texts if isinstance(one, ast.Constant)]
    return ast.Constant("".join(literals)) if len(literals) == len(texts) else text_tree(texts)


class _Parser:
    """Walks one value once, from left to right, and collects its references and expressions."""

    def __init__(self) -> None:
        self.names: dict[str, Template | None] = {}  # raw reference → the template of its name if that is computed
        self.expressions: list[Expression] = []
        self.converts = False  # an expression's value becomes part of a text, for which a container pays

    def template(self, source: Any, tree: ast.expr) -> Template:
        grows = any(expression.guarded for expression in self.expressions)
        uses = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id[:2] in {"v_", "t_"}]
        used = set(uses)
        return Template(
            source=source,
            tree=tree,
            references=tuple(
                Reference(raw, name_template, value_identifier(raw) in used, text_identifier(raw) in used)
                for raw, name_template in self.names.items()
            ),
            volatile=any(expression.volatile for expression in self.expressions),
            guarded=grows or self.converts,
            grows=grows or len(uses) > 1,
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
        """Parse a text of literals, references and expressions; one alone keeps its type."""
        parts: list[_Part] = []
        converted = False
        position = 0
        last_end = source.rfind(")$")
        # Identifiers of references begin with a prefix that the text does not contain.
        prefix = "ref" + "q" * max(map(len, re.findall("refq*", source)), default=0) if last_end >= 0 else ""
        while (found := OPENING.search(source, position)) is not None:
            backslashes, bracket = found[1], found[2]
            before = source[position : found.start()] + backslashes[: len(backslashes) // 2]
            parts += [_literal(before)] if before else []
            position = found.end()
            if len(backslashes) % 2 or (bracket == "(" and position > last_end):
                parts.append(_literal("$" + bracket))
            elif bracket == "(":
                tree, position = self.expression(source, position, prefix)
                parts.append(_Part(tree, call("as_text", tree)))
                converted = converted or not isinstance(tree, _NO_CONTAINERS)
            else:
                raw, position = self.reference(source, position, bracket)
                parts.append(_mention(raw))
        parts += [_literal(source[position:])] if position < len(source) else []
        if len(parts) == 1:
            return parts[0].alone
        self.converts |= converted
        return _join(parts)

    def reference(self, source: str, start: int, bracket: str, depth: int = 1) -> tuple[str, int]:
        """Parse a reference whose name begins at `start`; return its inner text and its end."""
        closing, position = _CLOSING[bracket], start
        name = _Parser()  # a name may itself contain references
        parts: list[_Part] = []
        while True:
            part = _NAME_PART.match(source, position)
            if part is not None:
                parts.append(_literal(part[0]))
                position = part.end()
            elif source.startswith(("${", "$<"), position):
                if depth == _MAX_NESTED:
                    raise ExpressionError(f"references are nested more than {_MAX_NESTED} deep")
                inner, position = name.reference(source, position + 2, source[position + 1], depth + 1)
                parts.append(_mention(inner))
            else:
                break
        raw, end = source[start:position], source.find(closing, position)
        if raw and end == position:
            if raw not in self.names:
                self.names[raw] = name.template(raw, _join(parts)) if name.names else None
            return raw, position + 1
        if end > position:
            what = f"{source[start:end][:80]!r} in ${bracket}...{closing} is not a parameter name"
            raise ExpressionError(what, hint=f"write \\${bracket} for the characters themselves")
        what = f"empty reference: ${bracket}{closing}" if end == position else "reference without its end: "
        what += "" if end == position else f"${bracket}{source[start : start + 80]}"
        raise ExpressionError(what, hint=f"close it with {closing}, or write \\${bracket} for the characters")

    def expression(self, source: str, start: int, prefix: str) -> tuple[ast.expr, int]:
        """Parse an expression whose Python text begins at `start`, up to the first `)$` that makes it complete."""
        body, position, failed = "", start, ""
        references: dict[str, str] = {}
        for _ in range(_MAX_ENDS):
            while (found := _INSIDE.search(source, position)) is not None and found[0] != ")$":
                body += source[position : found.start()]
                position = found.end()
                if found[1] or found[0] == "$(":
                    body += found[0].lstrip("\\")
                else:
                    raw, position = self.reference(source, position, found[0][1])
                    placeholder = f"{prefix}{len(references)}x"
                    references[placeholder] = raw
                    body += placeholder
            if found is None:
                break
            body += source[position : found.start()]
            position = found.end()
            try:
                expression = compile_expression(body, references, re.compile(f"({prefix}\\d+x)"))
            except SyntaxError as error:
                failed = failed or error.msg
                body += ")$"
            else:
                self.expressions.append(expression)
                return expression.tree, position
        raise ExpressionError(
            f"expression $({source[start : start + 120]}: {failed or 'no end'}",
            hint="write \\$( for the characters themselves",
        )


def reached(value: Any, names: set[str]) -> set[str]:
    """The subset of `names` that a raw value refers to, or may refer to if the name is computed."""
    if not is_template(value):
        return set()
    if not isinstance(value, str):
        found: set[str] = set()
        for item in value.values() if isinstance(value, dict) else value:
            found |= reached(item, names)
        return found
    constant, computed = _references(value)
    known = names & constant
    if computed:
        known |= {name for name in names if any(pattern.fullmatch(name) for pattern in computed)}
    return known


@lru_cache(maxsize=1024)
def _references(value: str) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    """Names that a text refers to, and patterns of the names that it computes."""
    names: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    waiting: list[Reference] = list(parse(value).references)
    while waiting:
        reference = waiting.pop()
        if reference.name is not None:
            names.add(reference.name)
        elif reference.name_template is not None:
            waiting += reference.name_template.references
            patterns.append(_pattern(reference.name_template))
    return frozenset(names), tuple(patterns)


def _pattern(name: Template) -> re.Pattern[str]:
    """`${exp.framework}.args` may be any name that ends in `.args`."""
    parts = name.tree.values if isinstance(name.tree, ast.JoinedStr) else []
    constants = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in parts]
    return re.compile("".join(constants) or ".*")
