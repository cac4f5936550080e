"""Meanings of the keys of logs and results (keys.yaml), for docs/log-format.md and `dlbs help KEY`."""

from __future__ import annotations

import dataclasses
import functools
import re
import textwrap
from pathlib import Path
from typing import Any

from dlbs.errors import ConfigError
from dlbs.language.patterns import compiled
from dlbs.results.keys import UNITS, better_of

__all__ = ["Row", "describe_keys", "key_documents", "key_rows", "known_keys", "markdown_table"]

_WIDTH = 79  # characters of a line of text
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@dataclasses.dataclass(frozen=True)
class Row:
    """Keys that share a meaning; a final `*` matches any name.

    Args:
        keys: Their names.
        unit: Their unit, or one for each key in order; empty for texts and plain numbers.
        meaning: Markdown.
    """

    keys: tuple[str, ...]
    unit: str
    meaning: str


@functools.cache
def key_rows() -> tuple[Row, ...]:
    """Rows of the table, in order."""
    import yaml

    with (Path(__file__).with_name("keys.yaml")).open(encoding="utf-8") as stream:
        rows = yaml.safe_load(stream)
    return tuple(Row(tuple(row["keys"].split(", ")), row.get("unit", ""), row["meaning"]) for row in rows)


def known_keys() -> dict[str, Row]:
    """Map each key to its row; keys with a final `*` are left out."""
    return {key: row for row in key_rows() for key in row.keys if re.fullmatch(r"[\w.]+", key)}


def markdown_table() -> str:
    """Format the table as Markdown."""
    lines = ["| key | unit | meaning |", "| --- | --- | --- |"]
    for row in key_rows():
        keys = ", ".join(key if key == "…" else f"`{key}`" for key in row.keys)
        lines.append(f"| {keys} | {row.unit} | {row.meaning} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _matching(pattern: str) -> list[str]:
    """Keys whose name is `pattern`, with or without `results.`, or matches it as a regular expression."""
    known = known_keys()
    for key in (pattern, f"results.{pattern}"):
        if key in known:
            return [key]
    try:
        expression = compiled(pattern)
    except ConfigError:
        return []
    return [key for key in known if expression.fullmatch(key)]


def describe_keys(pattern: str) -> list[str]:
    """Describe the keys whose name is `pattern` or matches it as a regular expression; an empty list if there are none."""
    lines: list[str] = []
    for key in _matching(pattern):
        lines += [*_description(key, known_keys()[key]), ""]
    return lines[:-1]


def key_documents(pattern: str) -> list[dict[str, Any]]:
    """Describe the same keys as dictionaries: kind, name, unit, description."""
    found = ((key, known_keys()[key]) for key in _matching(pattern))
    return [
        {"kind": "key", "name": key, "unit": UNITS.get(key) or row.unit, "description": _plain(row.meaning)}
        for key, row in found
    ]


def _plain(meaning: str) -> str:
    return _LINK.sub(r"\1", meaning).replace("`", "")


def _description(key: str, row: Row) -> list[str]:
    lines = [key, *textwrap.wrap(_plain(row.meaning), _WIDTH, initial_indent="  ", subsequent_indent="  ")]
    unit = UNITS.get(key) or row.unit
    if unit:
        lines.append(f"  unit: {unit}")
    if key in UNITS and key.startswith("results."):
        lines.append(f"  better: {'higher' if better_of(key) > 0 else 'lower'}")
    return lines
