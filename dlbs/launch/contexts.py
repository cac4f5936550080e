"""Where a value can stand in a shell script: as a bare word, in quotes, in a here-document, in a comment, or where no value may stand."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MARK", "Context", "HereDocument", "Place"]

MARK = "\U000f0000"  # stands for a value; a character of the private use area


class Context:
    """The contexts of a value; the text is how messages call it."""

    BARE = "a bare word"
    SINGLE = "'...'"
    DOUBLE = '"..."'
    ANSI_C = "$'...'"
    HERE = "a here-document"
    QUOTED_HERE = "a here-document with a quoted delimiter"
    COMMENT = "a comment"
    ARITHMETIC = "arithmetic"
    # Those in which no value may stand:
    BACKTICKS = "`...`"
    EXPANSION = "${...}"
    ESCAPED = "a backslash"
    DOLLAR = "a dollar sign"
    DELIMITER = "the delimiter of a here-document"
    UNCLOSED = "something that is not closed"
    AMBIGUOUS = "(( that is no arithmetic"


@dataclass(slots=True)
class Place:
    """Where one value stands.

    Attributes:
        context: One of `Context`.
        glued: What is before it would go on into it (a variable's name, a tilde), or what is after it begins a redirection.
        argument: A command is before it, so it is no assignment.
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
    """A here-document: positions of its delimiter, its text and its last line in the script, and what its delimiter says."""

    delimiter: str
    quoted: bool
    strips_tabs: bool
    word: tuple[int, int]
    body: tuple[int, int] = (0, 0)
    last: tuple[int, int] = (0, 0)
    closed: bool = False
