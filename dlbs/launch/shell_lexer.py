"""A lexer of bash's quoting: quotes, expansions, arithmetic and here-documents. Commands are scanned by `shell_commands`."""

from __future__ import annotations

import re
from collections.abc import Callable

from dlbs.errors import LaunchError
from dlbs.launch.contexts import MARK, Context, HereDocument, Place

__all__ = ["Lexer"]

_DEEPEST = 60  # levels of nesting
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"[!#]?[\w@*#?$!-]*(?:\[[^\]]*\])?(:?[-+=?])?")  # of ${...}


class Lexer:
    """Lexer of a script in one pass; each method begins after the opening of its construct and ends after its closing."""

    def __init__(self, script: str, scan_commands: Callable[[Lexer, str], None]) -> None:
        self.script = script
        self._scan_commands = scan_commands
        self.at = 0
        self.end = len(script)
        self.found: dict[int, Place] = {}  # by position
        self.here_documents: list[HereDocument] = []
        self.depth = 0
        self.in_expansion = False
        self.in_here_document = self._folds = False
        self.lost: int | None = None  # position after which here-document texts are ambiguous
        self._no_arithmetic: set[int] = set()  # positions, cached so that the cost of nesting is linear in its depth

    def mark(self, context: str, *, glued: bool = False, argument: bool = False, braced: bool = False) -> None:
        """Record the value at this position, and move past it."""
        folded = self._folds and not self.in_here_document
        self.found[self.at] = Place(
            Context.EXPANSION if self.in_expansion else context, glued, argument, braced, folded
        )
        self.at += 1

    def refuse(self, start: int, context: str = Context.UNCLOSED) -> None:
        """Disallow values in the construct that began at a position: the script, or the here-document, ends inside it."""
        for position, place in self.found.items():
            if position >= start:
                place.context = context

    def nested(self, scan: Callable[[], None]) -> None:
        """Scan a construct inside the current one."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise LaunchError(f"shell code is nested more than {_DEEPEST} levels deep")
        scan()
        self.depth -= 1

    def commands(self, closing: str) -> None:
        """Scan commands, up to the `)` that closes them, or to the end."""
        outside = self.in_expansion, self.in_here_document
        self.in_expansion = self.in_here_document = False
        self._scan_commands(self, closing)
        self.in_expansion, self.in_here_document = outside

    def until(self, closing: str, context: str, special: str) -> None:
        """Scan text up to a character, in which a backslash and some of `$`, a backtick and the double quote are special."""
        start = self.at
        while self.at < self.end:
            letter = self.script[self.at]
            if letter == closing:
                self.at += 1
                return
            if letter == MARK:
                self.mark(context)
            elif letter == "\\" and "\\" in special:
                self.escape()
            elif letter in special and letter == "$":
                self.dollar(quoted=True)
            elif letter in special and letter == "`":
                self.backticks()
            else:
                self.at += 1
        self.refuse(start)

    def escape(self) -> None:
        """Scan a backslash and the character after it."""
        self.at += 1
        if self.at < self.end:
            if self.script[self.at] == MARK:
                self.mark(Context.ESCAPED)
            else:
                self.at += 1

    def backticks(self) -> None:
        self.at += 1
        self.until("`", Context.BACKTICKS, "\\")

    def double_quotes(self) -> None:
        self.at += 1
        self.nested(lambda: self.until('"', Context.DOUBLE, "\\$`"))

    def dollar(self, quoted: bool) -> None:
        """Scan the construct after a dollar sign."""
        self.at += 1
        after = self.script[self.at : min(self.end, self.at + 2)]
        name = _NAME.match(self.script, self.at, self.end)
        if after[:1] == MARK:
            self.mark(Context.DOLLAR)
        elif after == "((" and self.tried_arithmetic(2, ")"):
            pass
        elif after[:1] == "(":
            start = self.at
            self.at += 1
            self.nested(lambda: self.commands(closing=")"))
            if after == "((":
                self.refuse(start, Context.AMBIGUOUS)
        elif after[:1] == "[" and self.tried_arithmetic(1, "]"):
            pass
        elif after[:1] == "{":
            self.at += 1
            self.nested(lambda: self.expansion(quoted))
        elif after[:1] == "'" and not quoted:
            self.at += 1
            self.until("'", Context.ANSI_C, "\\")
        elif name:
            self.at = name.end()
            if self.at < self.end and self.script[self.at] == MARK:
                self.mark(self.text_context(quoted), glued=True)
        elif after[:1] == "$":  # $$, the process id
            self.at += 1

    def text_context(self, quoted: bool) -> str:
        if not quoted:
            return Context.BARE
        return Context.HERE if self.in_here_document else Context.DOUBLE

    def expansion(self, quoted: bool) -> None:
        """Scan `${...}`. Values are not allowed in it, since their quoting would depend on its context."""
        start, outside = self.at, self.in_expansion
        self.in_expansion = True
        operator = _OPERATOR.match(self.script, self.at, self.end)
        literal = quoted and operator is not None and bool(operator[1])  # "${x:-'}" contains no quote
        while self.at < self.end:
            letter = self.script[self.at]
            if letter == "}":
                self.at += 1
                self.in_expansion = outside
                return
            if letter == MARK:
                self.mark(Context.EXPANSION)
            elif letter == "\\":
                self.escape()
            elif letter == "$":
                self.dollar(quoted)
            elif letter == '"':
                self.double_quotes()
            elif letter == "`":
                self.backticks()
            elif letter == "'" and not literal:
                self.at += 1
                self.until("'", Context.EXPANSION, "")
            else:
                self.at += 1
        self.in_expansion = outside
        self.refuse(start)

    def tried_arithmetic(self, opening: int, closing: str) -> bool:
        """Scan arithmetic after `((`, `$((`, `$[` or `name[`; return False and scan nothing if it is not arithmetic: `((a) | b)`."""
        if self.at in self._no_arithmetic:
            return False
        before = self.at, dict(self.found), len(self.here_documents)
        self.at += opening
        found = False

        def scan() -> None:
            nonlocal found
            found = self._arithmetic(opening, closing)

        self.nested(scan)
        if not found:
            self.at, self.found, documents = before
            del self.here_documents[documents:]
            self._no_arithmetic.add(self.at)
        return found

    def _arithmetic(self, opening: int, closing: str) -> bool:
        level = 0
        brackets = {")": "(", "]": "["}[closing]
        while self.at < self.end:
            letter = self.script[self.at]
            if letter == closing and level == 0:
                if self.script.startswith(closing * opening, self.at):
                    self.at += opening
                    return True
                return False
            if letter == "\n" and closing == "]":
                return False
            if letter == MARK:
                self.mark(Context.ARITHMETIC)
                continue
            if letter == "\\":
                self.escape()
            elif letter == "$":
                self.dollar(quoted=True)
            elif letter == "`":
                self.backticks()
            else:
                level += (letter == brackets) - (letter == closing)
                self.at += 1
        return False

    def here_document(self) -> HereDocument:
        """Scan `<<-'END'` without its text, which begins on the next line."""
        self.at += 2
        strips = self.script.startswith("-", self.at)
        self.at += strips
        while self.at < self.end and self.script[self.at] in " \t":
            self.at += 1
        start, letters, quote, quoted = self.at, [], "", False
        while self.at < self.end:
            letter = self.script[self.at]
            if not quote and letter in " \t\n;&|<>()":
                break
            if letter == MARK:
                self.mark(Context.DELIMITER)
                continue
            if letter in "'\"" and quote in {"", letter}:
                quote, quoted = ("" if quote else letter), True
            elif letter == "\\" and quote != "'":
                quoted = True
                self.at += 1
                letters.append(self.script[self.at : self.at + 1])
            else:
                letters.append(letter)
            self.at += 1
        found = HereDocument("".join(letters), quoted, strips, (start, self.at))
        self.here_documents.append(found)
        return found

    def here_text(self, document: HereDocument) -> None:
        """Scan the text of a here-document, up to the line that ends it."""
        start = end = self.at
        while end < self.end:
            stop = self.script.find("\n", end, self.end)
            stop = self.end if stop < 0 else stop
            line = self.script[end:stop]
            joined = not document.quoted and (len(line) - len(line.rstrip("\\"))) % 2 == 1
            if (line.lstrip("\t") if document.strips_tabs else line) == document.delimiter:
                document.closed, document.last = True, (end, stop)
                break
            end = min(stop + 1, self.end)
            while joined and end < self.end:  # the next line continues this one
                stop = self.script.find("\n", end, self.end)
                stop = self.end if stop < 0 else stop
                line = self.script[end:stop]
                joined = (len(line) - len(line.rstrip("\\"))) % 2 == 1
                end = min(stop + 1, self.end)
        document.body = start, end
        outside, self.end = (self.end, self.in_here_document, self._folds), end
        self.in_here_document, self._folds = (
            not document.quoted or self.in_here_document,
            self._folds or not document.quoted,
        )
        context = Context.QUOTED_HERE if document.quoted else Context.HERE
        while self.at < self.end:
            letter = self.script[self.at]
            if letter == MARK:
                self.mark(context)
            elif document.quoted:
                self.at += 1
            elif letter == "\\":
                self.escape()
            elif letter == "$":
                self.dollar(quoted=True)
            elif letter == "`":
                self.backticks()
            else:
                self.at += 1
        self.end, self.in_here_document, self._folds = outside
        if not document.closed:
            self.refuse(start)
        self.at = min(document.last[1] + 1, self.end) if document.closed else self.end
