"""Contexts of values in shell scripts: bare word, quotes, here-document, comment, and those in which values are not allowed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MARK", "Context", "HereDocument", "Place"]

MARK = "\U000f0000"  # placeholder of a value; a character of the private use area


class Context:
    """The contexts of a value; messages contain the text."""

    BARE = "a bare word"
    SINGLE = "'...'"
    DOUBLE = '"..."'
    ANSI_C = "$'...'"
    HERE = "a here-document"
    QUOTED_HERE = "a here-document with a quoted delimiter"
    COMMENT = "a comment"
    ARITHMETIC = "arithmetic"
    # Values are not allowed in:
    BACKTICKS = "`...`"
    EXPANSION = "${...}"
    ESCAPED = "a backslash"
    DOLLAR = "a dollar sign"
    DELIMITER = "the delimiter of a here-document"
    UNCLOSED = "something that is not closed"
    AMBIGUOUS = "(( that is not arithmetic"


@dataclass(slots=True)
class Place:
    """The place of one value.

    Attributes:
        context: One of `Context`.
        glued: The preceding text would continue into it (a variable's name, a tilde), or the following text begins a redirection.
        argument: A command precedes it, so it is not an assignment.
        braced: The word that it belongs to has an open brace.
        folded: It is in a substitution in a here-document, where a backslash at the end of a line joins lines, even in quotes.
    """

    context: str
    glued: bool = False
    argument: bool = False
    braced: bool = False
    folded: bool = False


@dataclass(slots=True)
class HereDocument:
    """A here-document: positions of its delimiter, text and last line in the script, and the properties of its delimiter."""

    delimiter: str
    quoted: bool
    strips_tabs: bool
    word: tuple[int, int]
    body: tuple[int, int] = (0, 0)
    last: tuple[int, int] = (0, 0)
    closed: bool = False
