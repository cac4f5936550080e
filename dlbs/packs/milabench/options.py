"""Options and configurations in the conventions of benchfiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["assemble_options", "merge", "select_nodes"]


def assemble_options(options: Mapping[str, Any] | Sequence[Any]) -> list[str]:
    """Options of a mapping as words: a flag for null and true, nothing for false; words after `--` are not options."""
    if not isinstance(options, Mapping):
        return [str(word) for word in options]
    words: list[str] = []
    last: list[str] = []
    for option, value in options.items():
        if option == "--":
            last = [str(word) for word in value]
        elif value is None or value is True:
            words.append(str(option))
        elif isinstance(value, (list, tuple)):
            words += [str(option), ",".join(map(str, value))]
        elif value is not False:
            words += [str(option), str(value)]
    return words + last


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; the second wins."""
    made = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = merge(made[key], value) if both else value
    return made


def select_nodes(nodes: Iterable[Mapping[str, Any]], n: int) -> list[Mapping[str, Any]]:
    """The first nodes, the main one first."""
    return sorted(nodes, key=lambda node: not node.get("main"))[: max(1, n)]
