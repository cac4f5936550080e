"""Parsing of `-P`, `-V` and `-E`, as strings of a command line or mappings of Python callers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dlbs.errors import ConfigError, Problems
from dlbs.jsonio import JsonError, load_json
from dlbs.language.template import is_template

__all__ = ["Assignments", "assignments", "extension_data", "parse_value"]

Assignments = Mapping[str, Any] | Iterable[str]  # {name: value}, or the strings name=value of -P and -V


def extension_data(given: str | Mapping[str, Any]) -> Any:
    """Parse an extension of `-E`: JSON text, or a mapping.

    Raises:
        ConfigError: The text is not JSON.
    """
    if not isinstance(given, str):
        return dict(given)
    try:
        return load_json(given)
    except JsonError as error:
        raise ConfigError(f"{given[:200]!r} is not JSON: {error}", where="-E") from None


def assignments(flag: str, given: Assignments, problems: Problems) -> Iterator[tuple[str, Any]]:
    """Names and values of `-P` or `-V`, as mapping or strings; a string that is not name=value is a problem."""
    if isinstance(given, Mapping):
        yield from given.items()
        return
    for one in given:
        with problems:
            yield _assignment(flag, one)


def _assignment(flag: str, given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{given!r} is not name=value", where=flag, hint=f"write {flag}exp.model=alexnet")
    name = name.strip()
    parsed = parse_value(value, words=flag == "-V")
    if flag == "-V" and isinstance(parsed, str) and "," in parsed and parsed == value and not is_template(parsed):
        hint = f"write -V{name}=[{value}] for several values, or -P{name}={value} for one with a comma in it"
        raise ConfigError(f"{value!r} is not a list", where=f"-V{name}", hint=hint)
    return name, parsed


def parse_value(given: str, *, words: bool = False) -> Any:
    """Parse JSON, or return the text if it is not JSON; with `words`, `[a,b c,1]` is a list of bare words and JSON values."""
    try:
        return load_json(given)
    except JsonError:
        stripped = given.strip()
    if words and stripped.startswith("[") and stripped.endswith("]"):
        return [parse_value(word.strip()) for word in stripped[1:-1].split(",")] if stripped[1:-1].strip() else []
    return given
