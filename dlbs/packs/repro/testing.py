"""Helpers for tests of models in containers, as in Repro's `testing`."""

from __future__ import annotations

import math

from dlbs.packs.container_model import devices_to_test
from dlbs.packs.repro.values import NestedDict, flatten_nested_dict

__all__ = ["FIXTURES_ROOT", "assert_dicts_approx_equal", "get_testing_device_parameters"]

FIXTURES_ROOT = "tests/fixtures"


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
