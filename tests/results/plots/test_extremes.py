"""Numbers as small as there are: drawn, or refused in words; no plot ends in an error of matplotlib."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.plots.kinds import draw, svg
from dlbs.results.plots.plot import Options
from tests.made_logs import declared, make_record

SMALLEST = [5e-324, 1e-308]


def two(value: float, **more: Any) -> list[dict[str, Any]]:
    """Two experiments with different seeds, of which the first has this throughput."""
    return [
        {**make_record("m", seed=seed, **more), "results.throughput": value if seed == 1 else 2.0, "my.x": value if seed == 1 else 2.0}
        for seed in (1, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("value", SMALLEST)
@pytest.mark.parametrize("kind", ["bars", "throughput", "axes"])
def test_the_smallest_numbers_fit_a_logarithmic_axis(kind: str, value: float) -> None:
    options = Options(log_scale=True, x="my.x" if kind == "axes" else None, log_x=True if kind == "axes" else None)
    low, high = draw(kind, declared(two(value)), options).axes[0].get_ylim()
    assert 0 < low <= value < 2 < high


@pytest.mark.parametrize("value", SMALLEST)
def test_speed_ups_over_next_to_nothing_are_refused(value: float) -> None:
    records = [{**one, "exp.num_gpus": gpus, "exp.seed": 1} for gpus, one in enumerate(two(value), 1)]
    with pytest.raises(LogError, match="too far apart for a speed-up"):
        draw("weak", declared(records))


@pytest.mark.parametrize("value", SMALLEST)
def test_ratios_over_next_to_nothing_are_refused(value: float) -> None:
    options = Options(x="exp.model", y=("results.throughput",), baseline={"exp.seed": "1"})
    records = [{**one, "exp.seed": seed} for seed, one in enumerate(two(value), 1)]
    with pytest.raises(LogError, match="can be divided by a baseline value"):
        draw("axes", declared(records), options)


def test_letters_that_no_font_has_print_no_warning() -> None:
    records = [{**one, "exp.model": f"日本 {at}"} for at, one in enumerate(two(1.0))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "<svg" in svg(draw("throughput", declared(records)))
