"""Quote values for shell scripts, so that each is one word, or text, in any context."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from dlbs.errors import LaunchError
from dlbs.launch.contexts import MARK, Context, HereDocument, Place
from dlbs.launch.shell_commands import places
from dlbs.text import printable, text

__all__ = ["Code", "Name", "Words", "bare", "written"]


class Code(str):
    """Text that is shell code already. It is allowed as commands and words, not in quotes."""


class Name(Code):
    """The name of an environment variable, which needs no quoting in any context."""


class Words:
    """A list as separate words."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __str__(self) -> str:
        return " ".join(map(text, self.items))


_RESERVED = frozenset(
    [
        "if",
        "then",
        "elif",
        "else",
        "fi",
        "time",
        "for",
        "in",
        "until",
        "while",
        "do",
        "done",
        "case",
        "esac",
        "coproc",
        "select",
        "function",
    ]
)  # words of bash that shlex leaves unquoted
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")
_GOES_ON = re.compile(r"\w", re.ASCII)  # continues a variable's name

_REFUSED = {
    Context.BACKTICKS: "write $(...) instead of backticks",
    Context.EXPANSION: "assign it to a variable first: x={{ ... }}, then use that",
    Context.ESCAPED: "remove the backslash; values are quoted for their context",
    Context.DOLLAR: 'remove the dollar sign, or write "\\$"',
    Context.DELIMITER: "write the delimiter itself",
    Context.AMBIGUOUS: "write ( ( with a blank between",
    Context.UNCLOSED: "close all quotes, parentheses and here-documents before the end of the template",
}


def bare(value: Any, place: Place) -> str:
    """Quote any value as one shell word; code is unchanged.

    Raises:
        LaunchError: It contains a NUL character.
    """
    if isinstance(value, Code):
        return value
    if isinstance(value, Words):
        return " ".join(bare(item, place) for item in value.items)
    word = _whole_lines(_text(value), place)
    quoted = shlex.quote(word)
    is_more = word in _RESERVED or (not place.argument and _ASSIGNMENT.match(word)) or place.glued
    if quoted == word and (is_more or (place.braced and not word.isalnum())):
        return f"'{word}'"
    return quoted


def written(pieces: Sequence[str], values: Sequence[Any], where: Callable[[int], str]) -> str:
    """Join the pieces of a template with a value between each two, quoted for its context.

    Args:
        pieces: The text of the template.
        values: The values, one fewer than pieces.
        where: Function from a value's number to `file:line` of the template, for errors.

    Raises:
        LaunchError: A value is in a context where none is allowed, or contains a NUL character.
    """
    found, documents = places(MARK.join(pieces))
    codes = []
    for number, (value, place) in enumerate(zip(values, found, strict=True)):
        try:
            codes.append(_in_context(value, place))
        except LaunchError as error:
            raise LaunchError(error.what, where=where(number), hint=error.hint) from None
    script = "".join(piece + code for piece, code in zip(pieces, [*codes, ""], strict=True))
    if not documents:
        return script
    return _with_delimiters(script, _Moves(pieces, codes), documents, where)


def _in_context(value: Any, place: Place) -> str:
    context = place.context
    if context in _REFUSED:
        beside = "after" if context in {Context.ESCAPED, Context.DOLLAR} else "in"
        raise LaunchError(f"a value {beside} {context} cannot be quoted", hint=_REFUSED[context])
    if context == Context.BARE:
        return bare(value, place)
    if context == Context.COMMENT:
        return printable(str(value) if isinstance(value, (Code, Words)) else text(value)).replace("\n", "?")
    if isinstance(value, Code) and not isinstance(value, Name):
        raise LaunchError(
            f"shell code is not allowed in {context}", hint="print it outside of quotes and here-documents"
        )
    return _QUOTING[context](_text(str(value) if isinstance(value, (Code, Words)) else value), place)


def _text(value: Any) -> str:
    word = text(value)
    if "\0" in word:
        raise LaunchError("a NUL character cannot be passed to a program", hint="remove it from the parameter's value")
    return word


def _whole_lines(word: str, place: Place) -> str:
    """Return the text unchanged.

    Raises:
        LaunchError: The surrounding here-document would join lines of it.
    """
    if place.folded and "\\\n" in word:
        what = "a value has a backslash at the end of a line, which the surrounding here-document would remove"
        raise LaunchError(what, hint="assign it to a variable before the here-document")
    return word


def _double(word: str, place: Place) -> str:
    apart = '""' if place.glued and _GOES_ON.match(word) else ""  # "$HOME""abc"
    return apart + re.sub(r'([\\$`"])', r"\\\1", word)


def _here(word: str, place: Place) -> str:
    if place.glued and _GOES_ON.match(word):
        raise LaunchError(
            "a value directly after a variable would become part of its name", hint="write ${NAME}, with braces"
        )
    return re.sub(r"([\\$`])", r"\\\1", word)


def _number(word: str, place: Place) -> str:
    if not _WHOLE_NUMBER.fullmatch(word):
        what = f"{printable(word)[:60]!r} is in arithmetic, where the shell would evaluate it"
        raise LaunchError(what, hint="only integers are allowed there")
    return word


_QUOTING: dict[str, Callable[[str, Place], str]] = {
    Context.SINGLE: lambda word, place: _whole_lines(word, place).replace("'", "'\\''"),
    Context.DOUBLE: _double,
    Context.ANSI_C: lambda word, place: re.sub(r"(['\\])", r"\\\1", word),
    Context.HERE: _here,
    Context.QUOTED_HERE: _whole_lines,
    Context.ARITHMETIC: _number,
}


class _Moves:
    """Map positions of a template's script with marks to those of the finished script."""

    def __init__(self, pieces: Sequence[str], codes: Sequence[str]) -> None:
        self.codes = codes
        ends = itertools.accumulate(len(piece) + len(MARK) for piece in pieces[:-1])
        self.marks = [end - len(MARK) for end in ends]

    def moved(self, position: int) -> int:
        before = zip(self.marks, self.codes, strict=True)
        return position + sum(len(code) - len(MARK) for mark, code in before if mark < position)


def _with_delimiters(script: str, moves: _Moves, documents: Sequence[HereDocument], where: Callable[[int], str]) -> str:
    """Replace the delimiter of each here-document that a line of a value would end.

    Raises:
        LaunchError: `<<-` would remove tabs at the beginning of a value's line.
    """
    changes: list[tuple[int, int, str]] = []
    for document in documents:
        inside = [number for number, mark in enumerate(moves.marks) if document.body[0] <= mark < document.body[1]]
        if not document.closed or not inside:
            continue
        body = script[moves.moved(document.body[0]) : moves.moved(document.body[1])]
        lines = body.split("\n")
        if not document.quoted:
            lines += body.replace("\\\n", "").split("\n")  # bash joins lines before it compares them
        if document.strips_tabs:
            _check_tabs(script, moves, inside, where)
            lines = [line.lstrip("\t") for line in lines]
        if document.delimiter in lines:
            name = next(name for name in map("END_OF_TEXT_{}".format, itertools.count(1)) if name not in lines)
            start, end = map(moves.moved, document.word)
            changes.append((start, end, f"'{name}'" if document.quoted else name))
            start, end = map(moves.moved, document.last)
            changes.append((start, end, name))
    for start, end, name in sorted(changes, reverse=True):
        script = script[:start] + name + script[end:]
    return script


def _check_tabs(script: str, moves: _Moves, inside: Sequence[int], where: Callable[[int], str]) -> None:
    for number in inside:
        code, start = moves.codes[number], moves.moved(moves.marks[number])
        line = script[:start].rpartition("\n")[2]
        if "\n\t" in code or (code.startswith("\t") and not line.strip("\t")):
            what = "a value in a here-document of <<- has a line that begins with a tab, which would be removed"
            raise LaunchError(what, where=where(number), hint="write << instead of <<-")
