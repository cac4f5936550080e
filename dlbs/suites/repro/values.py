"""Names of Repro's `common.util`, `data.types` and `testing`: texts and metrics of many inputs, joined, grouped, averaged, compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from dlbs.packs.container_model import devices_to_test

TextType: TypeAlias = str | list[str]  # a text, or its sentences
DocumentType: TypeAlias = str | list[str]
SummaryType: TypeAlias = str | list[str]
InstanceDict: TypeAlias = dict[str, Any]  # one input: the arguments of `predict` by name
MetricsType: TypeAlias = dict[str, Any]  # numbers by name, or nested mappings

FIXTURES_ROOT = "tests/fixtures"
Value = TypeVar("Value")
NestedDict: TypeAlias = dict[str, Any]  # numbers by name, or nested mappings


def flatten(text: TextType, separator: str | None = None) -> str:
    """Join sentences with the separator, a space by default; return a text unchanged."""
    return text if isinstance(text, str) else (separator or " ").join(text)


def is_empty_text(text: TextType) -> bool:
    """Whether a text is blank."""
    return not flatten(text).strip()


def check_for_single_texts(texts_list: Iterable[Sequence[TextType]]) -> list[TextType]:
    """The only text of each list.

    Raises:
        ValueError: A list is empty or has several texts.
    """
    lists = list(texts_list)
    for texts in lists:
        if len(texts) != 1:
            raise ValueError(f"expected one text per input, found {len(texts)}")
    return [texts[0] for texts in lists]


def group_by_references(
    candidates: Sequence[TextType], references_list: Sequence[Sequence[TextType]]
) -> tuple[list[list[TextType]], list[Sequence[TextType]], list[tuple[int, int]]]:
    """Put candidates together that have the same references, so that these are worked on once.

    Returns:
        The groups of candidates, the references of each group, and the place of each candidate (group, index in it).
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
    """The values of groups in the order of the inputs, by the places that `group_by_references` returns."""
    return [values[group][number] for group, number in mapping]


def remove_empty_inputs(inputs: Sequence[TextType], *contexts: Sequence[Any]) -> tuple[Any, ...]:
    """Remove empty inputs and their contexts.

    Returns:
        The set of their indices, the remaining inputs, and the remaining part of each context.

    Raises:
        ValueError: The lengths of a context and the inputs differ.
    """
    for context in contexts:
        if len(context) != len(inputs):
            raise ValueError(f"a context has {len(context)} entries for {len(inputs)} inputs")
    empty = {number for number, text in enumerate(inputs) if is_empty_text(text)}

    def kept(values: Sequence[Any]) -> list[Any]:
        return [value for number, value in enumerate(values) if number not in empty]

    return (empty, kept(inputs), *map(kept, contexts))


def insert_empty_values(inputs: Sequence[Value], empty_indices: set[int], empty_value: Value) -> list[Value]:
    """Values for all inputs: those of the remaining inputs, and `empty_value` for each removed by `remove_empty_inputs`.

    Raises:
        ValueError: An index is out of range.
    """
    total = len(inputs) + len(empty_indices)
    if any(not 0 <= number < total for number in empty_indices):
        raise ValueError(f"index {max(empty_indices)} is out of range for {total} inputs")
    rest = iter(inputs)
    return [empty_value if number in empty_indices else next(rest) for number in range(total)]


def flatten_nested_dict(nested_dict: NestedDict) -> dict[tuple[str, ...], Any]:
    """The numbers of a nested mapping, keyed by the path of keys."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in nested_dict.items():
        if isinstance(value, Mapping):
            found.update({(key, *rest): inner for rest, inner in flatten_nested_dict(dict(value)).items()})
        else:
            found[(key,)] = value
    return found


def unflatten_dict(d: Mapping[tuple[str, ...], Any]) -> NestedDict:
    """The inverse of `flatten_nested_dict`."""
    made: NestedDict = {}
    for keys, value in d.items():
        inner = made
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value
    return made


def get_default_dict(d: NestedDict, default: float) -> NestedDict:
    """A nested mapping with the same keys and one value."""
    return unflatten_dict(dict.fromkeys(flatten_nested_dict(d), default))


def average_dicts(dicts: Sequence[NestedDict]) -> NestedDict:
    """The means of nested mappings of numbers; an empty one for no mappings.

    Raises:
        ValueError: Their keys differ.
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
    """The mean metrics of each group, as for a text compared with each of several references.

    Args:
        groups: The group of each entry: 0, 1, ... without gaps.
        metrics_list: Metrics, one entry per group number.

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
        raise ValueError(f"groups must be 0, 1, ... without gaps, but group {missing[0]} is missing")
    return [average_dicts(members[group]) for group in sorted(members)]


def aggregate_parallel_metrics(
    outputs_list: Iterable[tuple[MetricsType, Sequence[MetricsType]]],
) -> tuple[MetricsType, list[MetricsType]]:
    """Combine the metrics of parallel models: the mean over all inputs, and those of each input.

    Args:
        outputs_list: For each model its mean, which is ignored, and its metrics for each input.
    """
    each = [metrics for _, found in outputs_list for metrics in found]
    return average_dicts(each), each


def get_testing_device_parameters(gpu_only: bool = False) -> list[tuple[int]]:
    """Devices to test on, from `TEST_DEVICES`, each as a tuple of test arguments.

    Args:
        gpu_only: Omit the CPU (-1).
    """
    return [(device,) for device in devices_to_test() if device >= 0 or not gpu_only]


def assert_dicts_approx_equal(
    d1: NestedDict, d2: NestedDict, rel: float | None = None, abs: float | None = None
) -> None:
    """Raise an AssertionError unless two nested mappings have the same keys and approximately equal numbers.

    Args:
        d1, d2: The mappings.
        rel: Tolerance relative to the second; 1e-6 by default.
        abs: Absolute tolerance; 1e-12 by default.
    """
    first, second = flatten_nested_dict(d1), flatten_nested_dict(d2)
    assert first.keys() == second.keys(), f"different keys: {sorted(first.keys() ^ second.keys())}"
    for keys, value in second.items():
        limit = max((1e-6 if rel is None else rel) * math.fabs(value), 1e-12 if abs is None else abs)
        assert math.fabs(first[keys] - value) <= limit, f"{'.'.join(keys)}: {first[keys]} differs from {value}"
