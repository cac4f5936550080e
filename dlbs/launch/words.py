"""Where a value may be in a shell script, and how it is quoted there.

A value is a word, or a part of a word, outside of quotes, and arrives there as one unchanged word: `--x={{ v }}`. Anywhere else it is an error that
shows what to write instead. The script contains a mark for each value, so what is allowed depends on the template alone, never on a value.

The scanner knows the simple forms of quotes, comments, substitutions, here-documents and commands. After anything else, every value is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from dlbs.core.errors import LaunchError
from dlbs.core.text import text

MARK = "\U000f0000"  # placeholder of a value; a character of the private use area


class Code(str):
    """Text that is shell code already."""


class Name(Code):
    """The name of an environment variable."""


class Words:
    """A list as separate words."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __str__(self) -> str:
        return " ".join(map(text, self.items))


class Position(NamedTuple):
    """The place of one value.

    Attributes:
        refused: The reason why no value is allowed there.
        hint: The form to write instead.
        alone: The value is the whole word.
        argument: A command precedes it, so it is not an assignment.
    """

    refused: str = ""
    hint: str = ""
    alone: bool = False
    argument: bool = False


def written(pieces: Sequence[str], values: Sequence[Any], where: Callable[[int], str]) -> str:
    """Join the pieces of a template with a value between each two, each value quoted as one word.

    Args:
        pieces: The text of the template.
        values: The values, one fewer than pieces.
        where: Function from a value's number to `file:line` of the template, for errors.

    Raises:
        LaunchError: A value is in a place where none is allowed, or contains a NUL character.
    """
    parts, numbers = [pieces[0]], []  # text and marks in turn; the number of the value of each mark
    words: list[Any] = []
    for number, (value, piece) in enumerate(zip(values, pieces[1:], strict=True)):
        for index, item in enumerate(value.items if isinstance(value, Words) else [value]):
            parts[-1] += " " if index else ""
            if isinstance(item, Code):
                parts[-1] += item
            else:
                words.append(item)
                numbers.append(number)
                parts.append("")
        parts[-1] += piece
    found = places(MARK.join(part.replace(MARK, "?") for part in parts))  # a mark in shell code is no value
    script = [parts[0]]
    for number, word, place, part in zip(numbers, words, found, parts[1:], strict=True):
        try:
            script += [_quoted(word, place), part]
        except LaunchError as error:
            raise LaunchError(error.what, where=where(number), hint=error.hint) from None
    return "".join(script)


def _quoted(value: Any, place: Position) -> str:
    if place.refused:
        raise LaunchError(place.refused, hint=place.hint)
    word = text(value)
    if "\0" in word:
        raise LaunchError("a NUL character cannot be passed to a program", hint="remove it from the parameter's value")
    if place.alone and _PLAIN.fullmatch(word) and word not in _RESERVED and (place.argument or "=" not in word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


@lru_cache(maxsize=64)  # the experiments of a plan have few shapes of scripts
def places(script: str) -> tuple[Position, ...]:
    """The place of each `MARK` of a script, in order."""
    return _Scanner(script).scan()


_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_RESERVED = frozenset(
    "if then elif else fi time for in until while do done case esac coproc select function".split()  # noqa: SIM905
)
# A command may follow these words.
_BEFORE_COMMANDS = frozenset("then do else elif if while until ! time { } fi done esac command builtin".split())  # noqa: SIM905
# Commands that evaluate their words, although these are quoted. The built-in ones were found by running each with each of its options.
_EVALUATING = frozenset(
    "[[ alias bind compgen complete compopt declare enable eval fc function getopts in let local mapfile read readarray readonly trap typeset unset wait".split()  # noqa: SIM905
)
# Variables for which bash evaluates what is assigned to them, in any of its versions.
_COMPUTED = frozenset("BASHPID EPOCHSECONDS HISTCMD LINENO OPTIND RANDOM SECONDS SRANDOM BASH_ALIASES".split())  # noqa: SIM905
# `declare` of such variables, or perhaps of such.
_COMPUTES = re.compile(
    r"""(?:declare|local|typeset)["']?(?:\s|\\\n)+(?:[-+]\S+(?:\s|\\\n)+)*["'\\]*(?:[$`]|[-+]["'\\\w]*[in$`])"""
)

_SUM = rf"\(\((?:[^()'\"`\\{MARK}]|\([^()'\"`\\#<{MARK}]*\))*\)\)"
_EXPANSION = rf"\$(?:{_SUM}|\{{(?![ \t|])(?:[^'\"`\\${{}}()<>\n]|\$(?=\w))*\}}|[A-Za-z_]\w*(?!\w)|[0-9@*#?$!-]|(?![\w@*#?$!\[{{('\"\\{MARK}-]))"
_BACKTICKS = r"`(?:[^`\\]|\\.)*`"
_TEXT = rf"(?:[^\"$`\\]|\\[^{MARK}]|{_EXPANSION}|\$(?=\")|{_BACKTICKS})*"
_REST = re.compile(rf"{_TEXT}(?:\"|\$\((?!\())", re.DOTALL | re.ASCII)  # of "...", to its end or to `$(`
_TEST = (
    rf"\[\[[ \t](?:[^'\"`\\$\n#;]|'[^'\n]*'|\"(?:[^\"$`\\\n]|{_EXPANSION})*\"|{_EXPANSION})*?[ \t]\]\](?=[\s;&|)]|\Z)"
)
_TOKEN = re.compile(
    rf"""(?P<blank>(?:[ \t]|(?<=[ \t])\\\n|\\\n(?=[ \t\n]))+)|(?P<newline>\n)|(?P<sum>{_SUM}(?=[\s;&|)]|\Z))|(?P<test>{_TEST})|(?P<backticks>{_BACKTICKS})"""
    rf"""|(?P<single>'[^']*'|\$'(?:[^'\\]|\\.)*')|(?P<string>\$?")|(?P<expansion>{_EXPANSION})"""
    rf"""|(?P<here>\d*<<-?(?!<))|(?P<opening>\$\((?!\()|[<>]\()"""
    rf"""|(?P<redirection>(?:\d+|\{{\w+\}})?(?:<<<|&>>?|[<>]&|>>|>\||<>|[<>]))|(?P<end>;;&|;&|;;|[;&|])"""
    rf"""|(?P<parenthesis>(?<![?*+@!])\((?!\()|\))|(?P<mark>{MARK})|(?P<plain>\\[^\n{MARK}]|[^\s\\'"`$#;&|<>()\[{MARK}]+|\[(?!\[)|[#\r\v\f])""",
    re.DOTALL | re.ASCII,
)
_HERE = re.compile(r"""[ \t]*(\\|['"]?)([\w.+-]+)(['"]?)(?=[\s;&|<>)]|\Z)""", re.ASCII)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[[\w$@]*\])?\+?=", re.ASCII)
_INDEXED = re.compile(r"[A-Za-z_]\w*\[", re.ASCII)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_UNQUOTED = str.maketrans("", "", "'\"\\")
_TARGET = ">"  # among the words of a command: the next one is the target of a redirection
_KNOWN_LATER = ("$", "`", "<(", MARK)

_ASSIGN_FIRST = 'assign it to a variable on a line before: x={{ ... }}, and write "$x"'
_REFUSED = {
    "single": ("in '...'", "close the quotes around it: 'some text '{{ ... }}' more text'"),
    "string": ('in "..."', 'close the quotes around it: "some text "{{ ... }}" more text"'),
    "backticks": ("in `...`", "write $(...) instead of backticks"),
    "expansion": ("in ${...}", _ASSIGN_FIRST),
    "here": ("in a here-document", "write printf '%s\\n' {{ ... }}, or assign it before, x={{ ... }}, and write $x"),
    "comment": ("in a comment", "write the comment as {# ... #}, or print the value: echo {{ ... }}"),
    "sum": ("in or after arithmetic that is not a simple sum", "compute it in the template: {{ 2 * exp.num_batches }}"),
    "test": ("in [[ ... ]]", "write [ ... ] instead: [ {{ ... }} = x ]"),
    "index": ("in [...], the index of an array or a pattern", "compute the index in the template, or append with a+=({{ ... }})"),
    "function": ("in the name of a function", "write the name itself"),
    "for": ("in the name of a variable", "write the name itself: for x in {{ ... }}"),
    "printf": ("in the format of `printf`", "write printf %s {{ ... }}"),
    "[": ("in a test, where it could follow an operator such as -v,", "write [ -n {{ ... }} ] or [ {{ ... }} = x ]"),
    ">&": ("behind >& or <&, which bash expands twice,", "write &> {{ ... }}, or > {{ ... }} 2>&1"),
    "open": ("in a script with something that is not closed", "close all quotes, parentheses and here-documents of the template"),
}  # fmt: skip


def _refusal(key: str) -> Position:
    what, hint = _REFUSED[key]
    return Position(f"a value {what} cannot be quoted", hint)


def _is_in_brackets(part: str) -> bool:
    """Whether `[` is open at the end of a part of a word."""
    bare = _QUOTED.sub("", part)
    return bare.count("[") > bare.count("]") or bare.rfind("[") > bare.rfind("]")


class _Frame:
    """The script itself, or what `(`, `$(`, `<(`, `=(` of an array or `$(` in quotes opens; its command and its word so far."""

    def __init__(self, opening: str) -> None:
        self.opening = opening
        self.words: list[str] = []  # of this command, without quotes
        self.begin: int | None = None  # of the word


class _Scanner:
    """One pass over a script, from left to right like that of bash."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.at = 0
        self.found: list[Position] = []
        self.frames = [_Frame("")]
        self.document: re.Match[str] | None = None  # the here-document that begins on the next line
        self.lost = "a NUL character" if "\0" in script else ""  # what is not followed
        self.computes = _COMPUTES.search(script) is not None

    def scan(self) -> tuple[Position, ...]:
        while self.at < len(self.script) and not self.lost:
            token = _TOKEN.match(self.script, self.at)
            if token is None:
                start = self.script[self.at : self.at + 3].replace(MARK, "{{ ... }}")
                if start[0] in "'`":
                    self.lost = f"{start[0]} that is not closed"
                else:
                    self.lost = "((" if "((" in start or start[:2] == "$[" else repr(start)
                break
            self.at = token.end()
            if len(self.frames) > 200:
                self.lost = "200 nested parentheses"
            elif self.document and "\n" in token[0] and token.lastgroup != "newline":
                self.lost = "a line with a here-document that continues elsewhere"
            elif token[0] == "#" and self.frames[-1].begin is None:
                end = self.script.find("\n", self.at)
                self._skip(len(self.script) if end < 0 else end, "comment")
            elif token.lastgroup in {"blank", "newline", "end", "parenthesis", "redirection", "here"}:
                self._between(str(token.lastgroup), token)
            else:
                self._word(str(token.lastgroup), token)
        if self.lost:
            what = f"a value behind {self.lost} cannot be quoted"
            place = _refusal("sum") if self.lost == "((" else Position(what, _ASSIGN_FIRST)
            return *self.found, *[place] * (self.script.count(MARK) - len(self.found))
        self._word_ends(len(self.script))
        if len(self.frames) > 1 or self.document or self.lost:
            return tuple(_refusal("open") for _ in self.found)
        return tuple(self.found)

    def _word(self, kind: str, token: re.Match[str]) -> None:
        """Follow a part of a word."""
        frame, start = self.frames[-1], token.start()
        if kind == "test" and (frame.begin is not None or frame.words):
            self.lost = "[["
            return
        frame.begin = start if frame.begin is None else frame.begin
        if kind == "mark":
            self.found.append(self._place(start))
        elif kind == "opening":
            self.frames.append(_Frame(token[0]))
        elif kind == "string":
            self._string()
        else:
            self.found += [_refusal(kind)] * token[0].count(MARK) if MARK in token[0] else []

    def _string(self) -> None:
        """Follow `"..."` to its end, or to a substitution in it."""
        rest = _REST.match(self.script, self.at)
        if rest is None:
            self.lost = 'a " that is not closed, or nested quotes in it'
            return
        self._skip(rest.end(), "string")
        if rest[0].endswith("("):
            self.frames.append(_Frame('"'))

    def _skip(self, end: int, key: str) -> None:
        """Skip text in which no value is allowed."""
        self.found += [_refusal(key)] * self.script.count(MARK, self.at, end)
        self.at = end

    def _between(self, kind: str, token: re.Match[str]) -> None:
        """Follow what is between words: blanks, the ends of commands, parentheses and redirections."""
        frame, start, begin = self.frames[-1], token.start(), self.frames[-1].begin
        if token[0] == "(" and begin is not None and _ASSIGNMENT.fullmatch(self.script, begin, start):
            self.frames.append(_Frame("=("))
            return
        self._word_ends(start)
        if kind == "redirection":
            frame.words.append(token[0][-2:] if token[0].endswith("&") else _TARGET)
        elif kind == "here":
            delimiter = _HERE.match(self.script, self.at)
            if delimiter is None or delimiter[1].strip("\\") != delimiter[3] or self.document or len(self.frames) > 1:
                self.lost = "a here-document in $(...), beside another or whose delimiter is no plain word"
            else:
                self.document, self.at = delimiter, delimiter.end()
        elif token[0] == "(":
            self.frames.append(_Frame("("))
        elif kind != "blank":
            frame.words = []
            if kind == "newline" and self.document:
                self._document(self.document)
            elif token[0] == ")" and len(self.frames) > 1:
                self.frames.pop()
                if frame.opening == "(":
                    self.frames[-1].words = []
                elif frame.opening == '"':
                    self._string()

    def _document(self, begin: re.Match[str]) -> None:
        tabs = "\t*" if begin.string[begin.start() - 1] == "-" else ""
        last = re.compile(f"^{tabs}{re.escape(begin[2])}(?:\n|\\Z)", re.MULTILINE).search(self.script, self.at)
        body = self.script[self.at : last.start() if last else None]
        if len(self.frames) > 1 or (not begin[1] and "\\\n" in body):
            self.lost = "a here-document with a line that may end it elsewhere"
        elif last:
            self._skip(last.end(), "here")
            self.document = None
        else:
            self._skip(len(self.script), "here")

    def _word_ends(self, end: int) -> None:
        frame = self.frames[-1]
        if frame.begin is None:
            return
        raw, frame.begin = self.script[frame.begin : end], None
        word = raw.translate(_UNQUOTED)
        if _is_in_brackets(raw) and (frame.opening == "=(" or _INDEXED.match(raw)):
            self.lost = "a blank in [...]"
        elif raw == "case" and len(self.frames) > 1:
            self.lost = "`case` in (...)"
        elif word in {"alias", "coproc", "expand_aliases"}:
            self.lost = f"`{word}`"
        if frame.words[-1:] in ([_TARGET], [">&"], ["<&"]):
            frame.words.pop()
        elif frame.words:
            frame.words.append(word)
        elif word.startswith("$") and "$'" in raw:
            frame.words.append("eval")  # a command in $'...' may be any
        elif (
            word.startswith(("$", "`"))
            and (last := re.search(r"[a-z]+\Z", raw.rstrip("'\"")))
            and last[0] in _EVALUATING
        ):
            frame.words.append(last[0])  # behind what may be empty
        elif not (
            word in _BEFORE_COMMANDS or word.startswith(("-", "$", "`", "<(")) or not word or _ASSIGNMENT.match(raw)
        ):
            frame.words.append("[[" if word.startswith("[[") else word)

    def _place(self, start: int) -> Position:
        """The place of a value in a word."""
        after = self.script[self.at : self.at + 1]
        if re.compile(r"[ \t]*\(").match(self.script, self.at):
            return _refusal("function")
        for frame in self.frames:
            refused = self._evaluated(frame, "" if frame.begin is None else self.script[frame.begin : start])
            if refused:
                return refused
        frame = self.frames[-1]
        alone = frame.begin == start and after in {"", " ", "\t", "\n", ";", "&", "|", ")"}
        return Position(alone=alone, argument=bool(frame.words) and frame.opening != "=(")

    def _evaluated(self, frame: _Frame, prefix: str) -> Position | None:
        """The refusal if the command evaluates the word of which a part precedes the value."""
        words = frame.words
        command = words[0] if words else ""
        given = _ASSIGNMENT.match(prefix)
        if _is_in_brackets(prefix) or (_INDEXED.match(prefix) and not given):
            return _refusal("index")
        name = ""
        if words[-1:] in ([">&"], ["<&"]):
            return _refusal(">&")
        if command in {"for", "select"}:
            if words[2:3] != ["in"]:
                return _refusal("for")
            name = words[1]
        elif given and command in {"", "export"}:
            name = given[1]
        elif command in _EVALUATING or command == "export":
            hint = "write NAME={{ ... }} as a separate command, or use another command"
            return Position(f"a value in `{command}`, which evaluates its words, cannot be quoted", hint)
        elif command in {"[", "test"}:
            return _refusal("[") if words[-1] in {"-v", "-R"} or any(one in words[-1] for one in _KNOWN_LATER) else None
        elif command == "printf":
            return _refusal("printf") if words[1:] == [] or words[1].startswith(("-", *_KNOWN_LATER)) else None
        if name in _COMPUTED or (name and self.computes):
            what = f"a value of the variable {name}, which bash may evaluate, cannot be quoted"
            return Position(what, "use a variable with another name, without `declare -i` and `declare -n`")
        return None
