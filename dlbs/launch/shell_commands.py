"""Find the contexts of values in a shell script, with a lexer of bash's quoting.

The script contains a mark for each value, so the result depends on the template alone, never on a value.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dlbs.launch.contexts import MARK, Context, HereDocument, Place
from dlbs.launch.shell_lexer import Lexer

__all__ = ["places"]

_PLAIN = re.compile(rf"[^\s\\'\"`$#;&|<>()\[{MARK}]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_REDIRECTION = re.compile(r"&>>?|[<>]&|>>|>\||<>|[<>](?!\()")
_ARITHMETIC_TEST = re.compile(r"(?<=\s)-(?:eq|ne|lt|le|gt|ge|v|R)(?=\s)")
# A command may follow these words.
_BEFORE_COMMANDS = frozenset(
    ["then", "do", "else", "elif", "if", "while", "until", "!", "time", "{", "}", "fi", "done", "in", "esac"]
)


@lru_cache(maxsize=64)  # the experiments of a plan have few shapes of scripts
def places(script: str) -> tuple[tuple[Place, ...], tuple[HereDocument, ...]]:
    """The place of each `MARK` of a script, in order, and the script's here-documents.

    Raises:
        LaunchError: The script is nested too deeply.
    """
    lexer = Lexer(script, lambda lexer, closing: _Commands(lexer, closing).scan())
    lexer.commands(closing="")
    if lexer.lost is not None:
        lexer.refuse(lexer.lost)
    found = [place for _, place in sorted(lexer.found.items())]
    return tuple(found), tuple(lexer.here_documents)


class _Commands:
    """Commands: words, separators, parentheses, comments and here-documents."""

    def __init__(self, lexer: Lexer, closing: str) -> None:
        self.lexer = lexer
        self.closing = closing
        self.open: list[str] = []  # open `(`, `=(` and `case`
        self.waiting: list[HereDocument] = []
        self.is_command = True  # whether the next word begins a command
        self.has_command = False  # whether the command's name precedes this word
        self.is_target = False  # whether the next word is the target of a redirection
        self.word: int | None = None  # start of the current word
        self.braced = False
        self.test: int | None = None  # start of `[[`

    def scan(self) -> None:
        lexer, script = self.lexer, self.lexer.script
        start = lexer.at
        while lexer.at < lexer.end:
            letter = script[lexer.at]
            if letter in " \t\n;&|()<>":
                if self.separator(letter):
                    return
                continue
            if letter == "#" and self.word is None:
                self.comment()
                continue
            if self.word is None:
                self.word, self.braced = lexer.at, False
            if letter == MARK:
                lexer.mark(Context.BARE, glued=self.is_glued(), argument=self.has_command, braced=self.braced)
            elif letter == "\\":
                lexer.escape()
            elif letter == "'":
                lexer.at += 1
                lexer.until("'", Context.SINGLE, "")
            elif letter == '"':
                lexer.double_quotes()
            elif letter == "$":
                lexer.dollar(quoted=False)
            elif letter == "`":
                lexer.backticks()
            elif letter == "[" and _NAME.fullmatch(script, self.word, lexer.at) and lexer.tried_arithmetic(1, "]"):
                pass
            else:
                plain = _PLAIN.match(script, lexer.at, lexer.end)
                after = plain.end() if plain else lexer.at + 1
                self.braced |= "{" in script[lexer.at : after]
                lexer.at = after
        self.end_word()
        if self.closing:
            lexer.refuse(start)

    def is_glued(self) -> bool:
        """Whether the surrounding text could make a plain value anything other than a word."""
        script, at = self.lexer.script, self.lexer.at
        return script[at - 1 : at] == "~" or script[at + 1 : at + 2] in {"<", ">", "("}

    def separator(self, letter: str) -> bool:
        """One character, or operator, between words; True if it closes these commands."""
        lexer, script = self.lexer, self.lexer.script
        if letter == "(" and script[lexer.at - 1 : lexer.at] == "=" and self.word is not None:
            self.word = None
            self.open.append("=(")
            self.is_command = False
            lexer.at += 1
            return False
        self.end_word()
        in_array = self.open[-1:] == ["=("]
        if letter == "\n":
            lexer.at += 1
            waiting, self.waiting = self.waiting, []
            for document in waiting:
                lexer.here_text(document)
            self.is_command, self.has_command = not in_array, False
        elif letter == "(":
            if script.startswith("((", lexer.at) and lexer.tried_arithmetic(2, ")"):
                return False
            self.open.append(f"(({lexer.at}" if script.startswith("((", lexer.at) else "(")
            lexer.at += 1
            self.is_command, self.has_command = not in_array, False
        elif letter == ")":
            return self.closes()
        elif script.startswith("<<<", lexer.at):
            lexer.at += 3
            self.is_target = True
        elif script.startswith("<<", lexer.at) and self.test is None:
            self.waiting.append(lexer.here_document())
        elif found := _REDIRECTION.match(script, lexer.at, lexer.end):
            lexer.at = found.end()
            self.is_target = True
        else:
            if letter in ";&|":
                self.is_command, self.has_command = True, False
            lexer.at += 1
        return False

    def closes(self) -> bool:
        """Handle a closing parenthesis: of these commands, of one that they opened, or of a pattern of `case`."""
        self.lexer.at += 1
        self.has_command = False
        if self.open[-1:] == ["case"]:
            self.is_command = True
            return False
        if self.open:
            opened = self.open.pop()
            self.is_command = opened != "=("  # as in `f() { ...`
            if opened.startswith("(("):  # bash parses it twice, with different results
                self.lexer.refuse(int(opened[2:]), Context.AMBIGUOUS)
            return False
        if self.closing:
            if self.waiting:  # shells differ on the position of its text
                self.lexer.lost = min(self.lexer.lost or self.lexer.at, self.waiting[0].word[0])
            return True
        self.is_command = False
        return False

    def end_word(self) -> None:
        """Handle the end of a word: update the state for the next one."""
        if self.word is None:
            return
        word = self.lexer.script[self.word : self.lexer.at]
        if word == "[[" and self.is_command:
            self.test = self.word
        elif word == "]]" and self.test is not None:
            self.end_test()
        if self.is_command and word == "case":
            self.open.append("case")
        elif self.is_command and word == "esac" and self.open[-1:] == ["case"]:
            self.open.pop()
        is_prefix = (
            self.is_target or (self.is_command and word in _BEFORE_COMMANDS) or _ASSIGNMENT.match(word) is not None
        )
        self.has_command |= not is_prefix
        self.is_target = False
        case_begins = word == "in" and self.open[-1:] == ["case"]
        self.is_command = case_begins or (self.is_command and word in _BEFORE_COMMANDS and word != "in")
        self.word = None

    def end_test(self) -> None:
        """`[[ ... ]]` evaluates its words as arithmetic if it compares numbers, quoted or not; a bare `-eq` would be an operator."""
        lexer = self.lexer
        assert self.test is not None
        computes = _ARITHMETIC_TEST.search(lexer.script, self.test, lexer.at)
        for position, place in lexer.found.items():
            if self.test <= position < lexer.at:
                place.glued = True
                place.context = Context.ARITHMETIC if computes else place.context
        self.test = None

    def comment(self) -> None:
        lexer = self.lexer
        while lexer.at < lexer.end and lexer.script[lexer.at] != "\n":
            if lexer.script[lexer.at] == MARK:
                lexer.mark(Context.COMMENT)
            else:
                lexer.at += 1
