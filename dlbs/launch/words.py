"""Where a value may be in a shell script, and how it is quoted there.

A value is a word, or a part of a word, outside of quotes, and arrives there as one unchanged word: `--x={{ v }}`. Anywhere else it is an error that
shows what to write instead. The script contains a mark for each value, so what is allowed depends on the template alone, never on a value.

The scanner follows quotes, comments, substitutions, here-documents and the words of commands. It does not know all of bash: after anything that it
does not follow, every value is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from dlbs.errors import LaunchError
from dlbs.text import text

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


class Place(NamedTuple):
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


def _quoted(value: Any, place: Place) -> str:
    if place.refused:
        raise LaunchError(place.refused, hint=place.hint)
    word = text(value)
    if "\0" in word:
        raise LaunchError("a NUL character cannot be passed to a program", hint="remove it from the parameter's value")
    if place.alone and _PLAIN.fullmatch(word) and word not in _RESERVED and (place.argument or "=" not in word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


@lru_cache(maxsize=64)  # the experiments of a plan have few shapes of scripts
def places(script: str) -> tuple[Place, ...]:
    """The place of each `MARK` of a script, in order."""
    return _Scanner(script).scan()


_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_RESERVED = frozenset(
    "if then elif else fi time for in until while do done case esac coproc select function".split()  # noqa: SIM905
)
# A command may follow these words.
_BEFORE_COMMANDS = frozenset("then do else elif if while until ! time { } fi done esac".split())  # noqa: SIM905
# Built-in commands that evaluate their words, although these are quoted. Found by running each of them with each of its options.
_EVALUATING = frozenset(
    "alias bind compgen complete compopt declare enable eval fc getopts let local mapfile read readarray readonly trap typeset unset wait".split()  # noqa: SIM905
)
_TEXTS = frozenset(['"', "${"])
_BETWEEN_WORDS = frozenset("blank newline end parenthesis string here redirection".split())  # noqa: SIM905
_DECLARING = frozenset(["declare", "local", "typeset"])
# Variables for which bash evaluates what is assigned to them, in any of its versions.
_COMPUTED = frozenset("BASHPID EPOCHSECONDS HISTCMD LINENO OPTIND RANDOM SECONDS SRANDOM BASH_ALIASES".split())  # noqa: SIM905

_SUM = rf"\(\((?:[^()'\"`\\{MARK}]|\([^()'\"`\\#<{MARK}]*\))*\)\)"
_UNKNOWN = r"\$\(\(|\$'|\$\[|\$\\\n|\$\{[ |\t\n\\]"
_EXPANDS = rf"(?P<sum>\${_SUM})|(?P<unknown>{_UNKNOWN})|(?P<open>\$\(|\$\{{)|(?P<expansion>\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]))"
_ALWAYS = rf"(?P<mark>{MARK})|(?P<joined>\\\n)|\\(?P<escaped>[^{MARK}])|(?P<backticks>`(?:[^`\\]|\\.)*`)|{_EXPANDS}"
_OUTSIDE = re.compile(
    rf"""(?P<blank>[ \t]+)|(?P<newline>\n)|(?P<command>{_SUM})|(?P<strange>\(\(|[?*+@!]\()|'(?P<single>[^']*)'|\$'(?P<ansi>(?:[^'\\]|\\.)*)'"""
    rf"""|(?P<quote>\$?")|(?P<process>[<>]\()|(?P<string><<<)|(?P<here><<-?)|(?P<redirection>&>>?|[<>]&|>>|>\||<>|[<>])|(?P<end>;;&|;&|;;|[;&|])"""
    rf"""|(?P<parenthesis>[()])|(?P<bracket>[\[\]])|{_ALWAYS}|(?P<plain>[^\s\\'"`$#;&|<>()\[\]?*+@!{MARK}]+)|(?P<other>.)""",
    re.DOTALL,
)
_INSIDE = re.compile(
    rf"""{_ALWAYS}|(?P<quote>")|(?P<brace>\}})|(?P<apostrophe>')|(?P<process>[<>]\()|(?P<plain>[^\\'"`$}}<>{MARK}]+)|(?P<other>.)""",
    re.DOTALL,
)
_DELIMITER = re.compile(
    rf"""[ \t]*(?:'(?P<single>[^'\n{MARK}]+)'|"(?P<double>[^"\n\\$`{MARK}]+)"|(?P<escape>\\?)(?P<plain>[\w.+-]+))(?=[\s;&|<>)]|\Z)"""
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[.*\])?\+?=", re.ASCII | re.DOTALL)
_INDEXED = re.compile(r"[A-Za-z_]\w*\[", re.ASCII)
_DESCRIPTOR = re.compile(r"\d+|\{\w+\}", re.ASCII)
_EXPANDED, _VALUE = "\0", "\1"  # parts of words that are known only when the script runs

_ASSIGN_FIRST = 'assign it to a variable on a line before: x={{ ... }}, and write "$x"'
_REFUSED = {
    "'": ("in '...'", "close the quotes around it: 'some text '{{ ... }}' more text'"),
    '"': ('in "..."', 'close the quotes around it: "some text "{{ ... }}" more text"'),
    "`": ("in `...`", "write $(...) instead of backticks"),
    "${": ("in ${...}", _ASSIGN_FIRST),
    "here": ("in a here-document", "write printf '%s\\n' {{ ... }}, or assign it before, x={{ ... }}, and write $x"),
    "#": ("in a comment", "write the comment as {# ... #}, or print the value: echo {{ ... }}"),
    "((": ("in or after arithmetic that is not a simple sum", "compute it in the template: {{ 2 * exp.num_batches }}"),
    "[[": ("in [[ ... ]]", "write [ ... ] instead: [ {{ ... }} = x ]"),
    "case": ("in a pattern of `case`", 'write if [ "$x" = {{ ... }} ]; then'),
    "[": ("in [...], the index of an array or a pattern", "compute the index in the template, or append with a+=({{ ... }})"),
    "\\": ("after a backslash", "remove the backslash; values are quoted"),
    "$": ("after a dollar sign", 'remove the dollar sign, or write "\\$"{{ ... }}'),
    "function": ("in the name of a function", "write the name itself"),
    "for": ("in the name of a variable", "write the name itself: for x in {{ ... }}"),
    "export": ("in `export`, other than behind NAME=,", "write export NAME={{ ... }}"),
    "printf": ("in the format of `printf`", "write printf %s {{ ... }}"),
    "test": ("in a test, where it could follow an operator such as -v,", "write [ -n {{ ... }} ] or [ {{ ... }} = x ]"),
    "open": ("in something that is not closed", "close all quotes, parentheses and here-documents before the end of the template"),
}  # fmt: skip


def _refusal(key: str) -> Place:
    what, hint = _REFUSED[key]
    return Place(f"a value {what} cannot be quoted", hint)


class _Frame:
    """An open construct: the script itself, `(`, `$(`, `<(` and `=(` with their commands, or `"` and `${` with their text."""

    __slots__ = ("begin", "brackets", "cases", "kind", "mark", "parentheses", "redirected", "word", "words")

    def __init__(self, kind: str, mark: int) -> None:
        self.kind = kind
        self.mark = mark  # the number of the first mark in it
        self.words: list[str] = []  # of this command, without their quotes
        self.word: str | None = None
        self.begin = 0  # of the word
        self.brackets = 0  # that are open in the word
        self.redirected = False  # the word is the target of a redirection
        self.cases: list[str] = []  # the open `case`: "head", "pattern" or "body"
        self.parentheses: int | None = None  # that are open in `[[`


class _Scanner:
    """One pass over a script, from left to right like that of bash."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.at = 0
        self.found: list[Place] = []
        self.frames = [_Frame("", 0)]
        self.documents: list[tuple[_Frame, re.Match[str]]] = []  # that begin on the next line
        self.lost = "a NUL character" if "\0" in script else ""  # what is not followed
        self.before = ""  # the kind of the token before this one
        self.assigned: list[tuple[int, str]] = []  # the marks that a variable gets
        self.computed = set(_COMPUTED)  # variables whose values are evaluated; "" is any

    def scan(self) -> tuple[Place, ...]:
        while self.at < len(self.script) and not self.lost:
            frame = self.frames[-1]
            inside = frame.kind in _TEXTS
            token = (_INSIDE if inside else _OUTSIDE).match(self.script, self.at)
            assert token is not None  # `other` is any character
            kind = str(token.lastgroup)
            self.at = token.end()
            if self.documents and "\n" in token[0] and kind != "newline":
                self.lost = "a line with a here-document that continues elsewhere"
            elif inside:
                self._text(frame, kind, token[0])
            else:
                self._code(frame, kind, token)
            self.before = kind
        if self.lost:
            place = Place(
                f"a value after {self.lost}, which is not supported before values, cannot be quoted", _ASSIGN_FIRST
            )
            if self.lost in {"((", "$((", "$["}:  # a variable in arithmetic would be evaluated, too
                place = _refusal("((")
            self.found += [place] * (self.script.count(MARK) - len(self.found))
        else:
            self._command_ends(self.frames[0], self.at)
            opened = self.frames[1].mark if len(self.frames) > 1 else len(self.found)
            self.found[opened:] = [_refusal("open")] * (len(self.found) - opened)
        for number, name in self.assigned:
            if {name, ""} & self.computed and not self.found[number].refused:
                what = f"a value of the variable {name}, which bash evaluates, cannot be quoted"
                self.found[number] = Place(what, "use a variable with another name, without `declare -i`")
        return tuple(self.found)

    def _text(self, frame: _Frame, kind: str, token: str) -> None:
        """Follow one token in `"..."` or `${...}`."""
        if kind == "mark":
            self.found.append(_refusal(frame.kind))
        elif kind == "open":
            self._add(_EXPANDED)
            self.frames.append(_Frame(token, len(self.found)))
        elif kind == ("quote" if frame.kind == '"' else "brace"):
            self.frames.pop()
        elif kind == "quote":
            self.frames.append(_Frame(token, len(self.found)))
        elif kind == "unknown" or token == "`" or (frame.kind == "${" and kind in {"apostrophe", "process", "joined"}):
            self.lost = f"{token.strip()} in {frame.kind}"
        elif kind == "backticks":
            self._refuse(token, "`")
            self._add(_EXPANDED)
        elif kind != "joined":
            self._add(_EXPANDED if kind in {"sum", "expansion"} else token)

    def _code(self, frame: _Frame, kind: str, token: re.Match[str]) -> None:
        """Follow one token outside of quotes."""
        text, start = token[0], token.start()
        if kind == "joined":
            if self.before != "blank" and self.script[self.at : self.at + 1] not in {" ", "\t", "\n"}:
                self.lost = "a word or an operator that continues in the next line"
            return
        if text == "#" and frame.word is None:
            self._comment(frame)
            return
        is_array = text == "(" and frame.word is not None and _ASSIGNMENT.fullmatch(self.script, frame.begin, start)
        if is_array:
            self.frames.append(_Frame("=(", len(self.found)))
            return
        if kind in {"redirection", "string", "here"} and _DESCRIPTOR.fullmatch(self.script, frame.begin, start):
            frame.word = None
        if kind in _BETWEEN_WORDS:
            self._word_ends(frame, start)
            self._between(frame, kind, text)
            return
        if frame.word is None:
            frame.word, frame.begin = "", start
        if kind == "mark":
            self.found.append(self._place(frame, start))
            self._add(_VALUE)
        elif kind in {"single", "ansi"}:
            self._refuse(text, "'")
            self._add(token[kind])
            if kind == "ansi" and "\\" in text and not frame.words:
                self.lost = "a command in $'...'"
        elif kind in {"open", "process", "quote"}:
            self._add("" if kind == "quote" else _EXPANDED)
            self.frames.append(_Frame({"open": text, "process": "$("}.get(kind, '"'), len(self.found)))
        elif kind in {"unknown", "strange"} or text in {"'", "`"}:
            self.lost = f"{text.strip()} that is not closed" if text in {"'", "`"} else text.strip()
        elif kind == "backticks":
            self._refuse(text, "`")
            self._add(_EXPANDED)
        else:
            if kind == "bracket":
                frame.brackets = max(0, frame.brackets + (1 if text == "[" else -1))
            self._add(_EXPANDED if kind in {"sum", "command", "expansion"} else token["escaped"] or text)

    def _comment(self, frame: _Frame) -> None:
        end = self.script.find("\n", self.at)
        end = len(self.script) if end < 0 else end
        self._refuse(self.script[self.at : end], "#")
        self.at = end
        if frame.parentheses is not None:
            self.lost = "# in [["

    def _between(self, frame: _Frame, kind: str, text: str) -> None:
        """Follow what is between words: blanks, the ends of commands, parentheses and redirections."""
        in_test = frame.parentheses is not None
        if kind == "newline":
            self._newline(frame)
        elif kind == "end":
            if (in_test and text not in {"&", "|"}) or frame.kind == "=(":
                self.lost = text
            elif not in_test:
                self._command_ends(frame, self.at)
                if frame.cases and text in {";;", ";&", ";;&"}:
                    frame.cases[-1] = "pattern"
        elif in_test and kind != "blank":
            frame.parentheses = (frame.parentheses or 0) + {"(": 1, ")": -1}.get(text, 0)
            if frame.parentheses < 0 or kind in {"string", "here"}:
                self.lost = f"{text} in [["
        elif text == ")":
            self._closes(frame)
        elif text == "(":
            if frame.kind == "=(":
                self.lost = "( in an array"
            elif frame.cases[-1:] != ["pattern"]:
                self.frames.append(_Frame("(", len(self.found)))
        elif kind == "here":
            delimiter = _DELIMITER.match(self.script, self.at)
            if delimiter:
                self.documents.append((frame, delimiter))
                self.at = delimiter.end()
            else:
                self.lost = "a here-document whose delimiter is no plain word"
        elif kind != "blank":
            frame.redirected = True

    def _newline(self, frame: _Frame) -> None:
        if frame.parentheses is not None:
            self.lost = "a new line in [["
        if (
            frame.words[:1] not in (["for"], ["select"], ["case"]) or len(frame.words) != 2
        ):  # `in` may be on the next line
            self._command_ends(frame, self.at)
        for owner, delimiter in self.documents:
            literal = delimiter["single"] or delimiter["double"] or delimiter["plain"]
            quoted = not delimiter["plain"] or bool(delimiter["escape"])
            tabs = "\t*" if delimiter.string.startswith("<<-", delimiter.start() - 3) else ""
            last = re.compile(f"^{tabs}{re.escape(literal)}$", re.MULTILINE).search(self.script, self.at)
            text = self.script[self.at : last.start() if last else len(self.script)]
            self._refuse(text, "here")
            nested = len(self.frames) > 1 and re.search(f"^\t*{re.escape(literal)}", text, re.MULTILINE)
            if owner is not frame or nested or (not quoted and "\\\n" in text):
                self.lost = "a here-document with a line that may end it elsewhere"
            self.at = min(last.end() + 1, len(self.script)) if last else len(self.script)
        self.documents = []

    def _closes(self, frame: _Frame) -> None:
        """Follow `)`, which ends a pattern of `case` or these commands."""
        if frame.cases[-1:] == ["pattern"]:
            frame.cases[-1] = "body"
            return
        self._command_ends(frame, self.at)
        if not frame.kind or frame.cases or any(owner is frame for owner, _ in self.documents):
            self.lost = ") that closes nothing, or in a command with `case` or a here-document"
            return
        self.frames.pop()
        if frame.kind == "(":
            self.frames[-1].words = []

    def _command_ends(self, frame: _Frame, end: int) -> None:
        self._word_ends(frame, end)
        if frame.words[:1] and frame.words[0] in _DECLARING:
            options = [word for word in frame.words if word[0:1] in {"-", "+"}]
            if any(word.startswith(_EXPANDED) for word in frame.words):
                self.computed.add("")  # perhaps -i
            elif any(set("in") & set(word) for word in options):
                self.computed |= {re.split(r"[+=\[]", word)[0] for word in frame.words}
        frame.words = []

    def _word_ends(self, frame: _Frame, end: int) -> None:
        if frame.word is None:
            return
        word, raw, frame.word = frame.word, self.script[frame.begin : end], None
        in_index, frame.brackets = frame.brackets > 0, 0
        words = frame.words
        if in_index and (_INDEXED.match(raw) or frame.kind == "=("):
            self.lost = "a blank in [...]"
        if raw == "case" and any(one.kind not in {"", "("} for one in self.frames):
            self.lost = "`case` in $(...)"
        elif word in {"alias", "coproc", "expand_aliases"}:
            self.lost = f"`{word}`"
        if frame.redirected:
            frame.redirected = False
        elif frame.parentheses is not None:
            if raw == "]]":
                self.lost = self.lost or ("( in [[" if frame.parentheses else "")
                frame.parentheses, frame.words = None, [raw]
        elif raw == "[[":
            frame.parentheses = 0
        elif frame.cases and (frame.cases[-1] == "pattern" or (raw == "esac" and not words)):
            if raw == "esac":
                frame.cases.pop()
        elif raw == "{" or (raw == "do" and words[0:1] in (["for"], ["select"]) and len(words) == 2):
            frame.words = []
        elif words or not self._may_precede_a_command(word, raw):
            if raw == "case" and not words:
                frame.cases.append("head")
            words.append(word)
            if frame.cases[-1:] == ["head"] and raw == "in" and len(words) == 3:
                frame.cases[-1], frame.words = "pattern", []

    def _may_precede_a_command(self, word: str, raw: str) -> bool:
        """Whether the command's name follows this word: after `then`, assignments, and expansions that may be empty."""
        known = raw in _BEFORE_COMMANDS or word in {"command", "builtin"} or word.startswith("-")
        return known or not word.strip(_EXPANDED) or _ASSIGNMENT.match(raw) is not None

    def _add(self, part: str) -> None:
        """Add a part to the word that is open."""
        frame = next(one for one in reversed(self.frames) if one.kind != '"')
        if frame.kind != "${":
            frame.word = (frame.word or "") + part

    def _refuse(self, text: str, key: str) -> None:
        self.found += [_refusal(key)] * text.count(MARK)

    def _place(self, frame: _Frame, start: int) -> Place:
        """The place of a value outside of quotes."""
        after = self.script[self.at : self.at + 1]
        if self.before == "other" and self.script[start - 1] in "\\$":
            return _refusal(self.script[start - 1])
        if frame.parentheses is not None:
            return _refusal("[[")
        if frame.cases[-1:] == ["pattern"]:
            return _refusal("case")
        if frame.brackets:
            return _refusal("[")
        if after == "(":
            return _refusal("function")
        for one in self.frames:
            refused = None if one.kind in _TEXTS else self._evaluated(one, self.script[one.begin : start], one is frame)
            if refused:
                return refused
        alone = frame.begin == start and after in {"", " ", "\t", "\n", ";", "&", "|", ")"}
        return Place(alone=alone, argument=bool(frame.words) and frame.kind != "=(")

    def _evaluated(self, frame: _Frame, prefix: str, direct: bool) -> Place | None:
        """The refusal if the command evaluates the word of which a part precedes the value."""
        words = frame.words
        command = words[0] if words else ""
        given = _ASSIGNMENT.match(prefix)
        if frame.redirected:
            return _evaluating(command) if direct and command in {"mapfile", "read", "readarray"} else None
        if command in {"for", "select"}:
            if words[2:3] != ["in"]:
                return _refusal("for")
            self.assigned.append((len(self.found), words[1]))
        elif given and command in {"", "export"}:
            self.assigned.append((len(self.found), given[1]))
        elif command in {"export", "function"}:
            return _refusal(command)
        elif command in _EVALUATING:
            return _evaluating(command)
        elif command in {"[", "test"}:
            if words[-1] in {"-v", "-R"} or {_EXPANDED, _VALUE} & set(words[-1]):
                return _refusal("test")
        elif command == "printf" and not _has_format(words[1:]):
            return _refusal("printf")
        return None


def _evaluating(command: str) -> Place:
    hint = (
        "write NAME={{ ... }} as a separate command" if command in {*_DECLARING, "readonly"} else "use another command"
    )
    return Place(f"a value in `{command}`, which evaluates its words, cannot be quoted", hint)


def _has_format(words: list[str]) -> bool:
    """Whether the format is among these words of `printf`, so that the next one cannot be an option."""
    rest = words[1:] if words[:1] == ["--"] else words
    return bool(rest) and rest[0][:1] not in {"-", _EXPANDED, _VALUE}
