"""Texts and metrics of many inputs: joined, grouped by what they share, averaged, as in Repro's `common.util`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from dlbs.packs.repro.types import MetricsType, TextType

__all__ = [
    "NestedDict",
    "aggregate_metrics_by_group",
    "aggregate_parallel_metrics",
    "average_dicts",
    "check_for_single_texts",
    "flatten",
    "flatten_nested_dict",
    "get_default_dict",
    "group_by_references",
    "insert_empty_values",
    "is_empty_text",
    "remove_empty_inputs",
    "unflatten_dict",
    "ungroup_values",
]

Value = TypeVar("Value")
NestedDict: TypeAlias = dict[str, Any]  # numbers by name, or mappings of such


def flatten(text: TextType, separator: str | None = None) -> str:
    """A text as it is; sentences joined by the separator, a blank by default."""
    return text if isinstance(text, str) else (separator or " ").join(text)


def is_empty_text(text: TextType) -> bool:
    """Whether there is nothing but blanks."""
    return not flatten(text).strip()


def check_for_single_texts(texts_list: Iterable[Sequence[TextType]]) -> list[TextType]:
    """The only text of each list.

    Raises:
        ValueError: One has none, or several.
    """
    lists = list(texts_list)
    for texts in lists:
        if len(texts) != 1:
            raise ValueError(f"one text is needed for each input, and there are {len(texts)}")
    return [texts[0] for texts in lists]


def group_by_references(
    candidates: Sequence[TextType], references_list: Sequence[Sequence[TextType]]
) -> tuple[list[list[TextType]], list[Sequence[TextType]], list[tuple[int, int]]]:
    """Put candidates together that have the same references, so that these are worked on once.

    Returns:
        The groups of candidates, the references of each group, and for each candidate its place (group, number in it).
    """
    groups: dict[Any, int] = {}
    grouped: list[list[TextType]] = []
    references_of: list[Sequence[TextType]] = []
    places = []
    for candidate, references in zip(candidates, references_list, strict=True):
        key = tuple(text if isinstance(text, str) else tuple(text) for text in references)
        if key not in groups:
            groups[key] = len(grouped)
            grouped.append([])
            references_of.append(references)
        group = groups[key]
        places.append((group, len(grouped[group])))
        grouped[group].append(candidate)
    return grouped, references_of, places


def ungroup_values(values: Any, mapping: Iterable[tuple[int, int]]) -> list[Any]:
    """The values of groups in the order of the inputs, by their places as `group_by_references` gives them."""
    return [values[group][number] for group, number in mapping]


def remove_empty_inputs(inputs: Sequence[TextType], *contexts: Sequence[Any]) -> tuple[Any, ...]:
    """Leave out inputs that are empty, and what belongs to them.

    Returns:
        The set of their numbers, the inputs that stay, and of each context what stays.

    Raises:
        ValueError: A context has another length than the inputs.
    """
    for context in contexts:
        if len(context) != len(inputs):
            raise ValueError(f"a context has {len(context)} entries for {len(inputs)} inputs")
    empty = {number for number, text in enumerate(inputs) if is_empty_text(text)}

    def kept(values: Sequence[Any]) -> list[Any]:
        return [value for number, value in enumerate(values) if number not in empty]

    return (empty, kept(inputs), *map(kept, contexts))


def insert_empty_values(inputs: Sequence[Value], empty_indices: set[int], empty_value: Value) -> list[Value]:
    """Values for all inputs: those of the inputs that stayed, and one for each that `remove_empty_inputs` left out.

    Raises:
        ValueError: A number is beyond all inputs.
    """
    total = len(inputs) + len(empty_indices)
    if any(not 0 <= number < total for number in empty_indices):
        raise ValueError(f"there are {total} inputs, and none has the number {max(empty_indices)}")
    rest = iter(inputs)
    return [empty_value if number in empty_indices else next(rest) for number in range(total)]


def flatten_nested_dict(nested_dict: NestedDict) -> dict[tuple[str, ...], Any]:
    """The numbers of a nested mapping, each by the keys that lead to it."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in nested_dict.items():
        if isinstance(value, Mapping):
            found.update({(key, *rest): inner for rest, inner in flatten_nested_dict(dict(value)).items()})
        else:
            found[(key,)] = value
    return found


def unflatten_dict(d: Mapping[tuple[str, ...], Any]) -> NestedDict:
    """The nested mapping that `flatten_nested_dict` was given."""
    made: NestedDict = {}
    for keys, value in d.items():
        inner = made
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value
    return made


def get_default_dict(d: NestedDict, default: float) -> NestedDict:
    """A mapping of the same keys, all of one value."""
    return unflatten_dict(dict.fromkeys(flatten_nested_dict(d), default))


def average_dicts(dicts: Sequence[NestedDict]) -> NestedDict:
    """The means of nested mappings of numbers; an empty one of none.

    Raises:
        ValueError: They do not have the same keys.
    """
    flat = [flatten_nested_dict(one) for one in dicts]
    for one in flat[1:]:
        if one.keys() != flat[0].keys():
            different = sorted(".".join(keys) for keys in one.keys() ^ flat[0].keys())
            raise ValueError(f"metrics of some inputs lack {', '.join(different)}")
    if not flat:
        return {}
    return unflatten_dict({keys: sum(one[keys] for one in flat) / len(flat) for keys in flat[0]})


def aggregate_metrics_by_group(groups: Sequence[int], metrics_list: Sequence[MetricsType]) -> list[MetricsType]:
    """The mean metrics of each group, as of a text that was compared with several references one by one.

    Args:
        groups: The group of each entry: 0, 1, ... without gaps.
        metrics_list: As many metrics.

    Raises:
        ValueError: The lengths differ, or a group is missing.
    """
    if len(groups) != len(metrics_list):
        raise ValueError(f"there are {len(groups)} groups for {len(metrics_list)} metrics")
    members: dict[int, list[MetricsType]] = {}
    for group, metrics in zip(groups, metrics_list, strict=True):
        members.setdefault(group, []).append(metrics)
    missing = sorted(set(range(max(members, default=-1) + 1)) ^ set(members))
    if missing:
        raise ValueError(f"groups must be 0, 1, ... without gaps, but there is no group {missing[0]}")
    return [average_dicts(members[group]) for group in sorted(members)]


def aggregate_parallel_metrics(
    outputs_list: Iterable[tuple[MetricsType, Sequence[MetricsType]]],
) -> tuple[MetricsType, list[MetricsType]]:
    """Metrics that parallel models gave, put together: their mean over all inputs, and those of each input.

    Args:
        outputs_list: Of each model its mean, which is not used, and its metrics, one for each input.
    """
    each = [metrics for _, found in outputs_list for metrics in found]
    return average_dicts(each), each
