r"""Regular expressions from plans, filters and declarations, matched in linear time by RE2.

Python's `re` backtracks: a pattern of ten characters can keep it busy for years. RE2 does not, so it has neither look-around nor
back-references. The classes here make it behave like Python's `re`: `\Z`, `\uXXXX`, replacements, empty matches.
docs/expressions.md lists the remaining differences.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from benchmark_core.text import truth
from dlbs.core.errors import ConfigError, DlbsError, ExpressionError
from dlbs.core.text import text

if TYPE_CHECKING:
    import re2


MAX_PATTERN = 1_000  # characters
MAX_MEMORY = 1 << 20  # bytes of one compiled pattern; with the cache below, 256 MiB at most
MAX_STEPS = 200_000_000  # instructions × characters of one match: about two seconds in the worst case
MAX_MATCHES = 100_000  # of one pattern in one text
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_REPLACEMENT = r"(?s)\\(?:([1-9][0-9]?)|g<(\w+)>|(.?))"
_CHARACTERS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

# Beginning of the construct in a message of RE2 → its name, and the replacement.
_LACKS = [
    (r"\(\?<?[=!]", "look-around", "match the surroundings too and take a group of the match, or use two conditions"),
    (r"\\[1-9]|\(\?P=", "back-references", "compare groups in an expression: re.match(...).group(1)"),
    (r"\(\?>|[*+?}]\+", "atomic groups and possessive repetitions", "leave them out: matching is linear without them"),
    (r"\(\?\(", "conditional groups", "write both alternatives out: (a|b)"),
    (r"\(\?#|\(\?[a-z]*[auxL]", "comments and the flags a, u, x, L", "known flags are i, m and s"),
]


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Pattern:
    """Compile a regular expression; the latest ones are cached.

    Raises:
        ExpressionError: It is malformed, too large, or uses a feature that RE2 lacks.
    """
    import re2  # 8 ms that `dlbs --help` does not pay

    if len(pattern) > MAX_PATTERN:
        raise ExpressionError(f"regular expression of {len(pattern):,} characters; at most {MAX_PATTERN:,} are allowed")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        return Pattern(re2.compile(_ESCAPE.sub(_translate, pattern), options), pattern)
    except re2.error as error:
        (message,) = error.args
        raise _malformed(pattern, message.decode("utf-8", "replace")) from None
    except UnicodeEncodeError:
        raise ExpressionError(f"regular expression {pattern!r} has a lone surrogate") from None


def _translate(escape: re.Match[str]) -> str:
    code = escape[1]
    if code == "Z":
        return r"\z"
    if code == "C":
        raise ExpressionError(r"\C, one byte, is not allowed in a regular expression", hint="use . for one character")
    return rf"\x{{{code[1:]}}}" if len(code) > 1 else escape[0]


def _malformed(pattern: str, message: str) -> ExpressionError:
    complaint = message.rpartition(": ")[2]
    for sign, feature, instead in _LACKS:
        if re.match(sign, complaint) or (re.search(sign, pattern) and ("operator" in message or "escape" in message)):
            return ExpressionError(
                f"bad regular expression {pattern!r}: {feature} are not supported".replace("around are", "around is"),
                hint=instead,
            )
    return ExpressionError(f"bad regular expression {pattern!r}: {message}")


class Match:
    """A match of a pattern, with the interface of `re.Match`."""

    __slots__ = ("_found", "_pattern", "_text")

    def __init__(self, found: re2._Match, pattern: Pattern, text: str) -> None:
        self._found, self._pattern, self._text = found, pattern, text

    def span(self, group: int | str = 0) -> tuple[int, int]:
        number = self._pattern.names.get(group, -1) if isinstance(group, str) else group
        if not 0 <= number <= self._pattern.groups:
            raise IndexError(f"no such group: {group!r}")
        start, end = self._found.span(number)
        return start, end

    def start(self, group: int | str = 0) -> int:
        return self.span(group)[0]

    def end(self, group: int | str = 0) -> int:
        return self.span(group)[1]

    def group(self, *groups: int | str) -> Any:
        texts = tuple(self._group(group) for group in groups or (0,))
        return texts if len(texts) > 1 else texts[0]

    def groups(self, default: str | None = None) -> tuple[str | None, ...]:
        return tuple(self._group(number, default) for number in range(1, self._pattern.groups + 1))

    def groupdict(self, default: str | None = None) -> dict[str, str | None]:
        return {name: self._group(name, default) for name in self._pattern.names}

    def _group(self, group: int | str, default: str | None = None) -> str | None:
        start, end = self.span(group)
        return self._text[start:end] if start >= 0 else default


class Pattern:
    """A compiled regular expression.

    Attributes:
        pattern: The text of the expression.
        groups: Number of groups.
        names: Name of a group → its number.
    """

    def __init__(self, expression: re2._Regexp, pattern: str) -> None:
        self._expression = expression
        self.pattern = pattern
        self.groups = int(expression.groups)
        self.names: dict[str, int] = expression.groupindex
        self._size = int(expression.programsize)

    def steps(self, text: str) -> int:
        """The largest number of steps of one match against `text`."""
        return self._size * (len(text) + 1)

    def fullmatch(self, text: str) -> Match | None:
        return self._first(self._expression.fullmatch, text)

    def match(self, text: str) -> Match | None:
        return self._first(self._expression.match, text)

    def search(self, text: str) -> Match | None:
        return self._first(self._expression.search, text)

    def _first(self, how: Callable[[str | bytes], re2._Match | None], text: str) -> Match | None:
        found = how(self._subject(text))
        return None if found is None else Match(found, self, text)

    def finditer(self, text: str) -> Iterator[Match]:
        """All matches from left to right; an empty match may follow the one before it, as in Python."""
        previous = None
        for number, found in enumerate(self._expression.finditer(self._subject(text))):
            if number == MAX_MATCHES:
                raise ExpressionError(f"regular expression {self.pattern!r} is found more than {MAX_MATCHES:,} times")
            if found.span() != previous:  # RE2's binding reports an empty match after a gap twice
                previous = found.span()
                yield Match(found, self, text)

    def findall(self, text: str) -> list[Any]:
        if self.groups == 0:
            return [found.group() for found in self.finditer(text)]
        every = [found.groups("") for found in self.finditer(text)]
        return [groups[0] for groups in every] if self.groups == 1 else every

    def split(self, text: str, maxsplit: int = 0) -> list[str | None]:
        pieces: list[str | None] = []
        end = 0
        for found in self._some(text, maxsplit):
            pieces += [text[end : found.start()], *found.groups()]
            end = found.end()
        return [*pieces, text[end:]]

    def sub(self, replacement: str, text: str, count: int = 0) -> str:
        return "".join(self.substitute(replacement, text, count))

    def substitute(self, replacement: str, text: str, count: int = 0) -> Iterator[str]:
        r"""The pieces of `text` with matches replaced; `\1`, `\g<name>`, `\n`, `\t`, `\r` and `\\` as in Python."""
        template = self._template(replacement)
        end = 0
        for found in self._some(text, count):
            yield text[end : found.start()]
            for part in template:
                yield part if isinstance(part, str) else found.group(part) or ""
            end = found.end()
        yield text[end:]

    def _some(self, text: str, count: int) -> Iterator[Match]:
        return itertools.islice(self.finditer(text), count if count > 0 else None)

    def _template(self, replacement: str) -> list[str | int]:
        parts: list[str | int] = []
        end = 0
        for found in re.finditer(_REPLACEMENT, replacement):
            parts.append(replacement[end : found.start()])
            number, name, character = found.groups()
            if character is None:
                group = int(number or name) if (number or name).isdecimal() else self.names.get(name, -1)
                if not 0 <= group <= self.groups:
                    raise ExpressionError(
                        f"replacement {replacement!r} refers to group {number or name}, which the pattern does not have"
                    )
                parts.append(group)
            elif character in _CHARACTERS:
                parts.append(_CHARACTERS[character])
            elif character.isalnum() or not character:
                raise ExpressionError(f"bad escape \\{character} in replacement {replacement!r}")
            else:
                parts.append(found[0])
            end = found.end()
        return [*parts, replacement[end:]]

    def _subject(self, text: str) -> str | bytes:
        """The subject for RE2: bytes if one character is one byte, so that its binding need not count characters."""
        if self.steps(text) > MAX_STEPS:
            raise ExpressionError(
                f"regular expression {self.pattern!r} is too large for a text of {len(text):,} characters",
                hint="repeat less: x+ instead of x{1,1000}",
            )
        if text.isascii():
            return text.encode()
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ExpressionError(f"text with a lone surrogate cannot be matched: {text[:80]!r}") from None
        return text


def condition_test(name: str, expected: Any, where: str) -> Callable[[Any], tuple[str, ...] | None]:
    """The test of a condition: a function of a value that returns the matched text and its groups, or None.

    Args:
        name: The parameter, for messages.
        expected: A number or boolean (equal), a list (any of), or a regular expression that must match the whole text. Of a boolean it may
            be any word for one (`yes`, `off`, 1).
        where: Location of the condition, for messages.

    Raises:
        ConfigError: The expected value is of another type, or a malformed regular expression.
    """
    if isinstance(expected, str):
        try:
            pattern = compiled(expected)
        except DlbsError as error:
            raise ConfigError(error.what, where=where, hint=error.hint) from None

        meant = truth(expected)

        def matches(value: Any) -> tuple[str, ...] | None:
            if meant is not None and isinstance(value, bool):
                return (text(value),) if value == meant else None
            found = pattern.fullmatch(text(value))
            return None if found is None else (found.group(), *(group or "" for group in found.groups()))

        return matches
    if isinstance(expected, (bool, int, float, list)) or expected is None:
        allowed = expected if isinstance(expected, list) else [expected]

        def equals(value: Any) -> tuple[str, ...] | None:
            # `exp.gpus: [0, 1]` may be written with numbers while the parameter is a text; a number is not true because it is 1.
            for one in allowed:
                if isinstance(value, bool):
                    if truth(one) == value:
                        return (text(value),)
                    continue
                if one == value and not isinstance(one, bool):
                    return (text(value),)
                if isinstance(value, str) and not isinstance(one, (list, dict)) and text(one) == value:
                    return (text(value),)
            return None

        return equals
    raise ConfigError(f"condition on {name!r} must be a number, a boolean, a list or a regular expression", where=where)
