"""Find the parameters that a raw value refers to, or may refer to if it computes the name."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import Any

from dlbs.language.parser import parse
from dlbs.language.template import Reference, Template, is_template

__all__ = ["reached"]


def reached(value: Any, names: set[str]) -> set[str]:
    """The subset of `names` that a raw value refers to, or may refer to if the name is computed."""
    if not is_template(value):
        return set()
    if not isinstance(value, str):
        found: set[str] = set()
        for item in value.values() if isinstance(value, dict) else value:
            found |= reached(item, names)
        return found
    constant, computed = _references(value)
    return {name for name in names if name in constant or any(pattern.fullmatch(name) for pattern in computed)}


@lru_cache(maxsize=1024)
def _references(value: str) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    """Names that a text refers to, and patterns of the names that it computes."""
    names: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    waiting: list[Reference] = list(parse(value).references)
    while waiting:
        reference = waiting.pop()
        if reference.name is not None:
            names.add(reference.name)
        elif reference.name_template is not None:
            waiting += reference.name_template.references
            patterns.append(_pattern(reference.name_template))
    return frozenset(names), tuple(patterns)


def _pattern(name: Template) -> re.Pattern[str]:
    """`${exp.framework}.args` may be any name that ends in `.args`."""
    parts = name.tree.values if isinstance(name.tree, ast.JoinedStr) else []
    constants = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in parts]
    return re.compile("".join(constants) or ".*")
