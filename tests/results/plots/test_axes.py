"""Plots with axes of one's choice: what is drawn is read from the figures themselves."""

from __future__ import annotations

import re
from typing import Any

import pytest

import dlbs
from dlbs.core.errors import LogError
from dlbs.results.plots.kinds import draw, title_of
from dlbs.results.plots.plot import Options, kind_for
from tests.made_logs import declared, make_record

Records = list[dict[str, Any]]


def drawn(records: Records, **options: Any) -> Any:
    return draw("axes", declared(records), Options(**options))


def frameworks() -> Records:
    """Two frameworks, of which the second takes half the time, with two types, models and batches."""
    return [
        make_record(model, batch, time=batch * factor * share, noise=0, repeat=repeat, exp__framework=framework, exp__dtype=dtype)
        for framework, share in (("pytorch", 1.0), ("jax", 0.5))
        for dtype in ("float32", "float16")
        for model, factor in (("a", 1.0), ("b", 4.0))
        for batch in (8, 16)
        for repeat in (1, 2)
    ]  # fmt: skip


def lines(axes: Any) -> list[tuple[list[float], list[float]]]:
    """Horizontal and vertical positions of each line's points."""
    return [(list(one.lines[0].get_xdata()), list(one.lines[0].get_ydata())) for one in axes.containers]


def labels(figure: Any) -> list[str]:
    return [words for axes in figure.axes for words in axes.get_legend_handles_labels()[1]]


def words_of(figure: Any) -> list[str]:
    """The lines of text above and below the axes."""
    return [one.get_text() for one in figure.texts]


def ticks(axes: Any) -> list[str]:
    return [tick.get_text() for tick in axes.get_xticklabels()]


def test_values_are_divided_by_the_baseline_of_the_same_experiment() -> None:
    figure = drawn(
        frameworks(), x="exp.replica_batch", y=["results.throughput"], series=["exp.model"], facet=["exp.dtype"],
        baseline={"exp.framework": "pytorch"},
    )  # fmt: skip
    first, second = figure.axes
    assert [first.get_title(), second.get_title()] == ["dtype float32", "dtype float16"]
    assert first.get_ylabel() == "throughput\nrelative to exp.framework=pytorch"
    assert labels(figure) == ["a, jax", "b, jax"]
    for axes in (first, second):
        assert lines(axes) == [([8, 16], pytest.approx([2, 2])), ([8, 16], pytest.approx([2, 2]))]
    assert first.get_ylim() == second.get_ylim()


def test_a_baseline_on_the_horizontal_axis_is_drawn_as_one() -> None:
    records = [make_record("a", 8, gpus=gpus, time=10.0 * (1 + gpus / 10), noise=0) for gpus in (1, 2, 4)]
    figure = drawn(records, x="exp.num_gpus", baseline={"exp.num_gpus": 1})
    assert lines(figure.axes[0]) == [([1, 2, 4], pytest.approx([1, 2 * 11 / 12, 4 * 11 / 14]))]
    assert ticks(figure.axes[0]) == ["1", "2", "4"]
    assert figure.axes[0].get_xlabel() == "number of GPUs"


def test_the_interval_of_a_ratio_has_the_level_that_both_have_together() -> None:
    records = [make_record("a", 8, repeat=repeat, time=share * 10 + repeat, noise=0, exp__framework=framework)
               for framework, share in (("pytorch", 2), ("jax", 1)) for repeat in range(1, 10)]  # fmt: skip
    figure = drawn(records, y=["results.time"], baseline={"exp.framework": "pytorch"})
    ((_, (value,)),) = lines(figure.axes[0])
    assert value == pytest.approx(15 / 25)
    (container,) = figure.axes[0].containers
    ((_, low), (_, high)) = container.lines[2][0].get_segments()[0]
    assert 11 / 29 < low < 15 / 25 < high < 19 / 21
    assert "points: median of 9 runs; error bars: 92 % confidence interval of the ratio" in words_of(figure)


def test_the_line_of_the_baseline_is_in_view_and_doubt_of_either_side_is_shown() -> None:
    records = [
        make_record("a", batch, time=time, exp__framework=name)
        for name, time in (("pytorch", 1.0), ("jax", 2.0))
        for batch in (8, 16)
    ]
    records[0]["results.warnings"] = ["drift: 9 %"]
    figure = drawn(records, baseline={"exp.framework": "pytorch"})
    assert figure.axes[0].get_ylim()[1] > 1
    (hollow,) = [line for line in figure.axes[0].lines if line.get_gid() == "doubtful"]
    assert list(hollow.get_xdata()) == [8]


def test_parameters_that_differ_and_are_not_named_divide_lines() -> None:
    figure = drawn(frameworks(), series=["exp.model"])
    assert len(set(labels(figure))) == 8
    assert all(re.fullmatch("[ab], .*(pytorch|jax).*", words) for words in labels(figure))
    assert all(len(xs) == 2 for xs, _ in lines(figure.axes[0]))


def test_what_follows_from_the_horizontal_axis_divides_nothing() -> None:
    records = [make_record("a", 8, gpus=gpus) for gpus in (1, 2, 4)]  # exp.gpus and exp.effective_batch follow
    figure = drawn(records, x="exp.num_gpus")
    assert [xs for xs, _ in lines(figure.axes[0])] == [[1, 2, 4]]
    assert labels(figure) == []


def test_texts_stand_in_the_order_of_the_plan_without_lines_between_them() -> None:
    figure = drawn(frameworks(), x="exp.framework", series=["exp.model"], facet=["exp.dtype", "exp.replica_batch"])
    assert ticks(figure.axes[-1]) == ["pytorch", "jax"]
    assert len(figure.axes) == 4
    assert all(one.lines[0].get_linestyle() == "None" for one in figure.axes[0].containers)
    assert "dtype float16, replica batch 16" in [axes.get_title() for axes in figure.axes]


def test_each_quantity_has_a_row_of_panels_with_its_unit_and_its_scale() -> None:
    figure = drawn(frameworks(), y=["results.throughput", "results.time"], facet=["exp.dtype"], series=["exp.model"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["throughput, images/s", "", "batch time, ms", ""]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", *2 * ["replica batch, instances"]]
    rows = [axes.get_ylim() for axes in figure.axes]
    assert rows[0] == rows[1] != rows[2] == rows[3]
    assert len(labels(figure)) == 4  # each line once, though it is in every panel


def test_over_a_result_each_experiment_is_a_point() -> None:
    figure = drawn(frameworks(), x="results.time", y=["results.memory_host"])
    assert labels(figure) == ["a", "b"]
    assert [len(xs) for xs, _ in lines(figure.axes[0])] == [8, 8]  # repeats are one point
    assert figure.axes[0].get_xlabel() == "batch time, ms"
    assert figure.axes[0].get_ylabel() == "peak host memory, MiB"


@pytest.mark.parametrize(
    ("batches", "log_x", "scale"),
    [
        ((1, 2, 16), None, "log"),
        ((10, 20, 30), None, "linear"),
        ((10, 20, 30), True, "log"),
        ((1, 2, 16), False, "linear"),
        ((1, 100), None, "log"),
    ],
)
def test_the_horizontal_axis_is_logarithmic_where_values_double_or_range_widely(
    batches: tuple[int, ...], log_x: bool | None, scale: str
) -> None:
    figure = drawn([make_record("a", batch) for batch in batches], log_x=log_x)
    assert figure.axes[0].get_xscale() == scale


def test_experiments_and_values_that_are_missing_are_counted() -> None:
    records = [make_record("a", 8), make_record("a", 16), make_record("a", 8, exp__framework="jax")]
    records += [make_record("a", 32, exp__framework="jax"), make_record("a", 64, status="failure")]
    figure = drawn(records, baseline={"exp.framework": "pytorch"})
    assert {"1 of 5 experiments have no value", "1 value without a baseline"} <= set(words_of(figure))


def test_a_quantity_that_some_experiments_lack_has_the_points_of_the_others() -> None:
    records = [make_record("a", 8, results__energy=5.0), make_record("a", 16)]
    figure = drawn(records, y=["results.throughput", "results.energy"])
    assert [len(xs) for axes in figure.axes for xs, _ in lines(axes)] == [2, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"x": "exp.replica_bach"}, "no experiment has 'exp.replica_bach'.*did you mean 'exp.replica_batch'"),
        ({"series": ["exp.modle"]}, "--series: .*did you mean 'exp.model'"),
        ({"facet": ["exp.dtpye"]}, "--facet: .*did you mean 'exp.dtype'"),
        ({"y": ["results.throughputs"]}, "--y: .*did you mean 'results.throughput'"),
        ({"y": ["exp.dtype"]}, "exp.dtype has no numbers"),
        ({"y": ["results.energy"]}, "no successful experiment has results.energy"),
        ({"baseline": {"exp.framework": "pytroch"}}, "in no successful experiment.*did you mean 'pytorch'"),
        ({"baseline": {"exp.phase": "training"}}, "all experiments have exp.phase=training"),
        ({"baseline": {"exp.framwork": "jax"}}, "--baseline: no experiment has"),
        ({"x": "exp.dtype", "log_x": True}, "has texts, not numbers"),
        ({"facet": ["exp.id"]}, "panels are too many"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_a_clear_error(options: dict[str, Any], said: str) -> None:
    records = [{**one, "exp.id": str(at)} for at, one in enumerate(frameworks())]
    with pytest.raises(LogError) as raised:
        drawn(records, **options)
    assert re.search(said, str(raised.value)), raised.value


def test_too_many_lines_and_places_are_errors() -> None:
    with pytest.raises(LogError, match="30 lines are too many"):
        drawn([make_record(f"m{n}") for n in range(30)])
    with pytest.raises(LogError, match=r"70 values of exp[.]model are too many"):
        drawn([make_record(f"m{n}") for n in range(70)], x="exp.model")


def test_options_of_axes_choose_the_kind() -> None:
    assert kind_for(None, Options(), declared([make_record()])) == "throughput"
    assert kind_for(None, Options(), declared([{"command.line": "sleep 1", "results.time": 1.0}])) == "bars"
    assert kind_for(None, Options(x="exp.num_gpus"), declared([])) == "axes"
    assert kind_for("bars", Options(value="results.time"), declared([])) == "bars"
    with pytest.raises(LogError, match="--x: plots of type bars have fixed axes"):
        kind_for("bars", Options(x="exp.num_gpus"), declared([]))
    with pytest.raises(LogError, match="remove --value"):
        kind_for(None, Options(value="results.time", y=["results.time"]), declared([]))


def test_python_has_the_same_options_and_names_them() -> None:
    figure = dlbs.plot(frameworks(), x="exp.framework", y="results.time", series="exp.model", facet=["exp.dtype"])
    assert figure.axes[0].get_ylabel() == "batch time, ms"
    with pytest.raises(LogError, match=r"^facet: no experiment has 'exp.dtpye'"):
        dlbs.plot(frameworks(), facet="exp.dtpye")


def test_a_title_replaces_the_usual_one() -> None:
    figure = drawn(frameworks(), facet=["exp.dtype"], title="Ours")
    assert title_of(figure) == "Ours"
    assert figure.axes[0].get_title() == "dtype float32"
