"""Safe loading of untrusted JSON: limits on depth and numbers, checked encodings; and JSON for programs.

`json.loads` raises four kinds of errors on hostile text (`JSONDecodeError`, `ValueError` for a number of 5,000 digits, `RecursionError`,
`UnicodeDecodeError`), and accepts values that break later: half of a surrogate pair cannot be written to a file, and values nested 900
levels deep cannot be traversed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

__all__ = ["MAX_DEPTH", "MAX_DIGITS", "JsonError", "dump_json", "load_json"]

MAX_DEPTH = 100  # levels of lists and objects
MAX_DIGITS = 4_000  # of an integer; Python rejects more than 4,300
_SURROGATES = frozenset(range(0xD800, 0xE000))
_OTHER_SURROGATES = _SURROGATES - set(range(0xDC80, 0xDD00))  # than those of bytes


class JsonError(ValueError):
    """A text is not JSON, or contains an unusable value.

    Attributes:
        what: The reason, in a few words.
        line: The line of the text, from 1.
    """

    def __init__(self, what: str, line: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


# An escaped backslash, a pair of surrogates, or half of one.
_ESCAPES = re.compile(r"\\\\|\\ud[89ab]..\\ud[c-f]..|\\ud[89a-f]..")


def dump_json(document: Any) -> str:
    """A document as indented JSON for programs, in ASCII.

    Bytes of arguments and file names that are not UTF-8 become U+FFFD: Python represents them by halves of surrogate pairs, which strict
    readers reject.
    """
    words = json.dumps(document, indent=1)
    if "\\ud" in words:
        words = _ESCAPES.sub(lambda found: "\\ufffd" if len(found[0]) == 6 else found[0], words)
    return words


def load_json(
    document: str | bytes | bytearray,
    *,
    object_pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    keep_bytes: bool = False,
) -> Any:
    """Parse a JSON text.

    Half of a surrogate pair (`"\\ud800"`) becomes U+FFFD, the replacement character. NaN and Infinity are accepted, because benchmarks write them.

    Args:
        document: The text, with or without a byte-order mark; bytes are UTF-8.
        object_pairs: Makes an object from its pairs, for example to reject duplicate keys.
        keep_bytes: Whether to keep U+DC80 to U+DCFF, which represent bytes of arguments and file names that are not UTF-8 (PEP 383).

    Raises:
        JsonError: It is not JSON, not UTF-8, nested more than `MAX_DEPTH` levels deep, or has a number of more than `MAX_DIGITS` digits.
    """
    source = (document if isinstance(document, str) else _decoded(document)).removeprefix("\ufeff")
    if object_pairs is not None:
        decoder = json.JSONDecoder(parse_int=_whole_number, object_pairs_hook=object_pairs)
    else:
        decoder = _DECODER_OF_SHORT_TEXTS if len(source) <= MAX_DIGITS else _DECODER
    try:
        value = decoder.decode(source)
    except json.JSONDecodeError as error:
        raise JsonError(error.msg, error.lineno) from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    # Two fast searches exclude deep nesting and surrogates for most texts.
    if source.count("[") + source.count("{") > MAX_DEPTH and _depth_exceeds(value, MAX_DEPTH):
        raise JsonError(f"nested more than {MAX_DEPTH} levels deep")
    if "\\u" in source or not source.isascii():
        value = _without(_OTHER_SURROGATES if keep_bytes else _SURROGATES, value)
    return value


def _decoded(document: bytes | bytearray) -> str:
    try:
        return document.decode()
    except UnicodeDecodeError as error:
        raise JsonError("not UTF-8", 1 + document.count(b"\n", 0, error.start)) from None


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise JsonError(f"a number of {len(digits):,} digits")
    return int(digits)


# Making a decoder takes longer than parsing a line of a log, and a call for each whole number as long as all of the rest.
_DECODER = json.JSONDecoder(parse_int=_whole_number)
_DECODER_OF_SHORT_TEXTS = json.JSONDecoder()


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, (list, dict)) else []
    depth = 0
    while level and depth <= limit:
        depth += 1
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (list, dict))
        ]
    return depth > limit


def _without(letters: frozenset[int], value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "".join("\N{REPLACEMENT CHARACTER}" if ord(letter) in letters else letter for letter in value)
        return value
    if isinstance(value, list):
        return [_without(letters, item) for item in value]
    if isinstance(value, dict):
        return {_without(letters, key): _without(letters, item) for key, item in value.items()}
    return value
