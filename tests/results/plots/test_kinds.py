"""What each kind of plot shows: scales, ticks, marks, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.page.report import figures_of
from dlbs.results.plots.kinds import KINDS, applicable_kinds, draw, svg, title_of
from dlbs.results.plots.plot import Options, kind_for
from tests.made_logs import declared, make_record

Records = list[dict[str, Any]]


def drawn(kind: str, records: Records, **options: Any) -> Any:
    return draw(kind, declared(records), Options(**options))


def words_of(figure: Any) -> list[str]:
    return [one.get_text() for one in figure.texts]


def ticks(axis: Any) -> list[str]:
    axis.figure.draw_without_rendering()
    low, high = sorted(axis.get_view_interval())
    found = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [one.label1.get_text() for one in found if low <= one.get_loc() <= high and one.label1.get_text()]


def tagged(levels: dict[str, float], model: str = "a", runs: int = 3) -> Records:
    """Runs of versions, each at its own batch time."""
    return [
        make_record(model, 8, time=level, noise=0.002, repeat=repeat, seed=tag) | {
            "db.tags": [tag], "exp.start_time": f"2026-{at:02}-01T10:{repeat:02}:00", "exp.code.commit": f"{at:040x}",
            "exp.framework_version": f"2.{at}",
        }
        for at, (tag, level) in enumerate(levels.items(), 1) for repeat in range(1, runs + 1)
    ]  # fmt: skip


STEP = {f"v{at}": 10.0 if at < 8 else 12.0 for at in range(1, 13)}
FLAT = {f"v{at}": 10.0 for at in range(1, 13)}


# Bars


def test_bars_begin_at_zero_and_there_are_dots_where_the_axis_has_none() -> None:
    records = [make_record(model, 8, time=time) for model, time in (("a", 1.0), ("b", 1.2))]
    (axes,) = drawn("bars", records).axes
    assert axes.get_ylim()[0] == 0
    assert len(axes.patches) == 2
    (axes,) = drawn("bars", records, log_scale=True).axes
    assert axes.get_yscale() == "log"
    assert not axes.patches
    assert len(axes.containers) == 2
    assert "dots: single runs; no error bars" in words_of(axes.figure)


def test_bars_with_long_labels_lie_and_begin_at_zero_too() -> None:
    records = [make_record(f"a model with a very long name, number {n}", 8) for n in range(8)]
    (axes,) = drawn("bars", records).axes
    assert axes.get_xlabel() == "throughput, images/s"
    assert axes.get_xlim()[0] == 0
    assert ticks(axes.yaxis)[0] == "a model with a very long name, number 0"
    assert all(patch.get_width() > patch.get_height() for patch in axes.patches)


# Series


def test_a_series_has_ticks_at_timed_batches_only_and_marks_where_timing_begins() -> None:
    record = make_record(batches=60, results__time_warmup_data=[30.0] * 25)
    (axes,) = drawn("series", [record]).axes
    assert [int(words) for words in ticks(axes.xaxis)] == [1, 10, 20, 30, 40, 50, 60]
    (boundary,) = [line for line in axes.lines if line.get_label() == "timing begins"]
    assert list(boundary.get_xdata()) == [0.5, 0.5]
    assert "running median: of 11 batches" in words_of(axes.figure)


def test_a_series_with_a_monitor_shows_the_time_of_the_batches() -> None:
    record = make_record(batches=100, results__time_warmup_data=[30.0] * 3, results__time_data_start=50.0)
    record |= {"results.use.time": [50 + at / 10 for at in range(-100, 100)], "results.use.cpu": [100.0] * 200}
    axes, _ = drawn("series", [record]).axes
    assert -1.1 < axes.get_xlim()[0] < 0 < 1 < axes.get_xlim()[1] < 2
    assert axes.figure.axes[1].get_xlabel() == "time since the first timed batch, s"


def test_the_legend_of_a_series_covers_no_batch() -> None:
    figure = drawn("series", [make_record(batches=60, results__time_warmup_data=[30.0] * 3)])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


# Heat maps


def test_heat_maps_share_one_scale_and_columns_and_name_their_facets_in_full() -> None:
    name = "a setting whose name is longer than any label in a legend may be, because a facet has room for all of it"
    records = [
        make_record(model, batch, time=time * batch, runtime__malloc=f"{name} {time:g}", exp__phase="training")
        for model in "ab" for batch in (1, 8, 64) for time in (1.0, 50.0) if (time, batch) != (1.0, 64)
    ]  # fmt: skip
    first, second, bar = drawn("heatmap", records).axes
    assert first.images[0].norm is second.images[0].norm
    assert [len(axes.images[0].get_array()[0]) for axes in (first, second)] == [3, 3]
    assert first.get_title(loc="left").replace("\n", " ") == f"runtime.malloc={name} 1"
    assert bar.get_ylabel() == "throughput, images/s"


def test_a_heat_map_counts_runs_without_a_value_in_cells_that_have_others() -> None:
    figure = drawn("heatmap", [make_record(), make_record(repeat=2, status="failure")])
    assert "1 of 2 experiments have no value" in words_of(figure)


@pytest.mark.parametrize("spread", [1.0, 1.5, 40.0, 1e5])
def test_colour_bars_have_plain_numbers(spread: float) -> None:
    records = [make_record("a", batch, time=time) for batch, time in ((1, 7.0), (2, 7.0 * spread))]
    figure = drawn("heatmap", records)
    words = ticks(figure.axes[-1].yaxis)
    assert len(words) >= 2
    assert not any("$" in one or "mathdefault" in one for one in words)
    assert "mathdefault" not in svg(draw("heatmap", declared(records)))


@pytest.mark.parametrize("kind", ["heatmap", "bars", "throughput", "distribution", "latency-throughput"])
def test_numbers_as_far_apart_as_they_can_be_are_drawn(kind: str) -> None:
    records = [
        make_record("a", batch) | {"results.throughput": value} for batch, value in ((1, 1e-300), (2, 0.0), (4, 1e300))
    ]
    assert "</svg>" in svg(draw(kind, declared(records)))


# Roofline


def rooflines(peak: float | None = None, flops: float = 5e9, **more: Any) -> Records:
    mfu = {"results__mfu": flops / peak} if peak else {}
    return [
        make_record(
            "a", 8, results__flops=flops, results__flops_per_batch=1e9, results__bytes_per_batch=1e8, **mfu, **more
        )
    ]


def test_a_roofline_without_a_known_peak_says_so_and_how_to_give_one() -> None:
    words = words_of(drawn("roofline", rooflines()))
    assert "peak of the device unknown: set it with --peak_tflops" in words
    assert "memory bandwidth unknown: set it with --peak_bandwidth" in words
    words = words_of(drawn("roofline", rooflines(), peak_tflops=0.2, peak_bandwidth=40))
    assert not [line for line in words if "unknown" in line]


def test_a_roofline_without_a_known_peak_is_not_on_the_page() -> None:
    assert "roofline" not in applicable_kinds(declared(rooflines()))


def test_a_roofline_has_one_unit_throughout() -> None:
    (axes,) = drawn("roofline", rooflines(), peak_tflops=0.2, peak_bandwidth=40).axes
    assert axes.get_ylabel() == "achieved performance, GFLOP/s"
    assert {one.get_text() for one in axes.texts} == {"peak: 200 GFLOP/s", "memory: 40 GB/s"}


@pytest.mark.parametrize("flops_per_batch", [1e9, 1e13])  # the second is far from the memory limit, which is then short
def test_the_label_of_the_memory_limit_is_within_the_axes(flops_per_batch: float) -> None:
    records = [rooflines()[0] | {"results.flops_per_batch": flops_per_batch}]
    figure = drawn("roofline", records, peak_tflops=0.2, peak_bandwidth=40)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (label,) = [one for one in axes.texts if one.get_text().startswith("memory")]
    box, inside = label.get_window_extent(), axes.get_window_extent()
    assert inside.x0 <= box.x0
    assert box.x1 <= inside.x1


def test_each_data_type_has_its_own_peak() -> None:
    records = [*rooflines(2e13, exp__dtype="float32"), *rooflines(4e13, exp__dtype="float16")]
    (axes,) = drawn("roofline", records).axes
    assert {one.get_text() for one in axes.texts} == {
        "peak (float32): 20,000 GFLOP/s",
        "peak (float16): 40,000 GFLOP/s",
    }


# Scaling


@pytest.mark.parametrize("kind", ["weak", "strong"])
def test_one_number_of_devices_is_nothing_to_scale(kind: str) -> None:
    with pytest.raises(LogError, match="all experiments used 1 device: nothing to scale"):
        drawn(kind, [make_record("a", batch) for batch in (1, 2)])


def test_batches_that_ran_on_one_number_of_devices_each_are_nothing_to_scale() -> None:
    with pytest.raises(LogError, match="no replica batch ran on two device counts: nothing to scale"):
        drawn("weak", [make_record("a", 8, gpus=1), make_record("a", 4, gpus=2)])


def test_a_single_point_is_left_out_and_counted() -> None:
    records = [make_record("a", 8, gpus=gpus) for gpus in (1, 2)] + [make_record("b", 8, gpus=1)]
    figure = drawn("weak", records)
    assert figure.axes[0].get_legend_handles_labels()[1] == ["ideal", "a"]
    assert "1 experiment with only one device count left out" in words_of(figure)


def test_scaling_has_the_fields_axis_names_and_intervals_of_its_ratios() -> None:
    records = [make_record("a", 8, gpus=gpus, repeat=repeat) for gpus in (1, 2, 4) for repeat in range(1, 7)]
    (axes,) = drawn("weak", records).axes
    assert axes.get_ylabel() == "speed-up vs. smallest device count"
    assert axes.get_xlabel() == "GPUs"
    said = "points: ratio of throughputs, medians of 6 runs; error bars: 94 % confidence interval of the ratio"
    assert said in words_of(axes.figure)
    (container,) = [one for one in axes.containers if one.get_label() == "a"]
    lengths = [abs(one[1][1] - one[0][1]) for one in container.lines[2][0].get_segments()]
    assert lengths[0] == 0
    assert min(lengths[1:]) > 0


# Distributions


def test_the_distribution_shows_each_run_and_a_box_where_there_are_enough() -> None:
    many = [make_record("many", 8, repeat=repeat) for repeat in range(1, 9)]
    few = [make_record("few", 8, repeat=repeat) for repeat in range(1, 4)]
    (axes,) = drawn("distribution", many + few).axes
    assert ticks(axes.yaxis) == ["many", "few"]
    points = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    assert [len(one) for one in points] == [8, 3]
    assert len(axes.collections) == 1
    assert "points: single runs; box: quartiles and median; whiskers: minimum and maximum" in words_of(axes.figure)


def test_doubtful_runs_are_hollow_in_a_distribution() -> None:
    records = [make_record("a", 8, repeat=repeat) for repeat in (1, 2)]
    records[1]["results.warnings"] = ["drift: 9 %"]
    (axes,) = drawn("distribution", records).axes
    filled = [line.get_markerfacecolor() == line.get_color() for line in axes.lines if line.get_marker() == "o"]
    assert filled == [True, False]


def test_many_runs_make_no_large_file() -> None:
    records = [make_record("a", 8, repeat=repeat, batches=1) for repeat in range(2000)]
    assert len(svg(draw("distribution", declared(records)))) < 200_000


def test_batches_of_each_run_are_a_violin_or_points_where_they_are_few() -> None:
    records = [make_record("a", 8, repeat=1), make_record("a", 8, repeat=2, batches=4)]
    (axes,) = drawn("batches", records).axes
    assert ticks(axes.yaxis) == ["repeat 1", "repeat 2"]
    assert axes.get_xlabel() == "batch time, ms"
    (points,) = [line for line in axes.lines if line.get_marker() == "."]
    assert len(points.get_xdata()) == 4
    heights = [path.vertices[:, 1] for path in axes.collections[0].get_paths()]
    assert max(map(max, heights)) < 0.5


@pytest.mark.parametrize("times", [None, [], "x", [1, "a"], {"a": 1}, [None], [float("nan")]])
def test_batch_times_of_a_log_may_be_anything(times: object) -> None:
    with pytest.raises(LogError, match="has batch times"):
        drawn("batches", [make_record() | {"results.time_data": times}])


# Accuracy


def test_accuracy_by_epoch_has_whole_epochs_and_medians_of_runs() -> None:
    records = [
        make_record("a", 8, repeat=repeat, results__epoch_accuracy_top1=[10.0 * repeat, 20.0 * repeat, 30.0 * repeat])
        for repeat in (1, 2, 3)
    ]
    (axes,) = drawn("accuracy", records).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "top-1 accuracy, %")
    assert ticks(axes.xaxis) == ["1", "2", "3"]
    assert list(axes.lines[0].get_ydata()) == [20, 40, 60]
    assert axes.get_ylim()[0] == 2.0  # 10 - 0.1 * (90 - 10)
    assert "points: median of 3 runs; error bars: 75 % confidence interval of the median" in words_of(axes.figure)


def test_the_loss_is_drawn_where_it_is_asked_for() -> None:
    figure = drawn("accuracy", [make_record(results__epoch_loss=[2.0, 1.0])], value="results.epoch_loss")
    assert title_of(figure) == "Training loss by epoch"


# Latency against throughput


def test_latency_over_throughput_goes_from_batch_to_batch() -> None:
    (axes,) = drawn("latency-throughput", [make_record("a", batch, time=5 + batch) for batch in (16, 1, 4)]).axes
    assert axes.get_ylabel() == "99th percentile of batch time, ms"
    assert [one.get_text() for one in axes.texts] == ["1", "4", "16"]
    rates = list(axes.containers[0].lines[0].get_xdata())
    assert rates == sorted(rates)


def under_load(model: str = "a", gpus: int = 1) -> Records:
    """A server with one to 32 users, whose latency rises steeply from 16 on."""
    return [
        make_record(
            model, repeat=repeat, exp__phase="serving", exp__num_gpus=gpus, serving__users=users, results__serving__offered_qps=1.0,
            results__serving__tokens_per_second=gpus * 100.0 * min(users, 16 + users / 100), results__serving__tokens_per_second_user=100.0 / max(1, users / 16),
            results__serving__latency_p99=(600.0 if users > 16 else 10.0 + users) + repeat,
        )
        for users in (1, 2, 4, 8, 16, 32) for repeat in (1, 2, 3)
    ]  # fmt: skip


def test_latency_over_throughput_of_a_server_goes_over_its_load_with_the_knee() -> None:
    figure = drawn("latency-throughput", [*under_load("a"), *under_load("b", gpus=2)])
    (axes,) = figure.axes
    assert axes.get_ylabel() == "99th percentile of latency, ms"
    texts = [one.get_text() for one in axes.texts]
    assert texts[:6] == ["1", "2", "4", "8", "16", "32"]
    assert texts[-2:] == ["knee: 1,600 tokens/s", "knee: 3,200 tokens/s"]
    assert "labels at points: number of users" in " ".join(words_of(figure))
    line = axes.containers[0].lines[0]
    assert list(line.get_ydata()) == [13.0, 14.0, 16.0, 20.0, 28.0, 602.0], "medians of three runs"


def test_interactivity_is_throughput_of_each_gpu_over_that_of_each_user() -> None:
    (axes,) = drawn("interactivity", under_load("b", gpus=2)).axes
    assert axes.get_xlabel() == "throughput per user, tokens/s"
    assert axes.get_ylabel() == "throughput per GPU, tokens/s"
    assert not [one for one in axes.texts if "knee" in one.get_text()], "higher is better"
    line = axes.containers[0].lines[0]
    assert list(line.get_xdata()) == [100.0] * 5 + [50.0]
    assert [round(value) for value in line.get_ydata()] == [100, 200, 400, 800, 1600, 1632]
    with pytest.raises(LogError, match="no experiments differ in the load"):
        drawn("interactivity", under_load()[:3])


# History


def test_history_is_in_the_order_of_time_with_changes_marked_where_they_are() -> None:
    figure = drawn("history", list(reversed(tagged(STEP))))
    (axes,) = figure.axes
    assert title_of(figure) == "Throughput over tags"
    assert ticks(axes.xaxis) == list(STEP)
    (change,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert change.get_xdata()[0] == 6.5  # between v7 and v8
    (words,) = [one.get_text() for one in axes.texts]
    assert words.startswith("-16")
    assert words.endswith("%")
    assert any("E-divisive; false alarms: 1 % of series without a change" in line for line in words_of(figure))


def test_a_history_without_a_change_has_no_mark() -> None:
    (axes,) = drawn("history", tagged(FLAT)).axes
    assert not axes.texts
    assert not [line for line in axes.lines if line.get_linestyle() == "--"]


def test_each_experiment_has_a_panel_over_the_same_tags_whatever_versions_changed() -> None:
    figure = drawn("history", tagged(STEP, "a") + tagged(FLAT, "b"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_history_over_commits_and_marks() -> None:
    commit = f"{3:040x}"
    (axes,) = drawn("history", tagged(FLAT), x="exp.code.commit", mark=[commit]).axes
    assert axes.get_xlabel() == "commit, in chronological order"
    (mark,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert mark.get_xdata()[0] == 2
    with pytest.raises(LogError, match="--mark: 'v99' is not on the horizontal axis"):
        drawn("history", tagged(FLAT), mark=["v99"])
    with pytest.raises(LogError, match="no experiment has a tag or a commit"):
        drawn("history", [make_record()])


def test_only_a_history_takes_marks_and_an_axis_of_its_own() -> None:
    assert kind_for("history", Options(x="db.tags", mark=["v1"]), declared([])) == "history"
    with pytest.raises(LogError, match="only plots of type history have tags to mark"):
        kind_for("bars", Options(mark=["v1"]), declared([]))


# What a page offers


def test_kinds_apply_where_results_have_something_to_show() -> None:
    assert applicable_kinds(declared([])) == []
    assert applicable_kinds(declared([make_record(status="failure")])) == []
    assert applicable_kinds(declared([make_record()])) == ["batches", "series"]
    sweep = [make_record(model, batch, repeat=repeat) for model in "ab" for batch in (1, 8) for repeat in (1, 2)]
    found = applicable_kinds(declared(sweep))
    assert found == ["throughput", "bars", "distribution", "batches", "series", "heatmap", "latency-throughput"]
    assert "series" not in applicable_kinds(declared([*sweep, *sweep])), "16 runs are too many for one plot"


def every_kind() -> dict[str, Records]:
    """Results that have enough for each kind that a page offers by itself."""
    sweep = [make_record(model, batch, repeat=repeat) for model in "ab" for batch in (1, 8) for repeat in (1, 2)]
    served = [
        make_record() | {"results.serving.offered_qps": rate, "results.serving.latency_p50": rate, "serving.target_qps": rate}
        for rate in (1.0, 2.0)
    ]  # fmt: skip
    return {
        **dict.fromkeys(("throughput", "bars", "distribution", "batches", "heatmap", "latency-throughput"), sweep),
        "series": [make_record(), make_record(repeat=2)], "latency-load": served, "interactivity": under_load(), "roofline": rooflines(1e10), "history": tagged(STEP),
        "weak": [make_record(gpus=gpus) for gpus in (1, 2)], "accuracy": [make_record(results__epoch_accuracy_top1=[1.0, 2.0])],
        "strong": [make_record(batch=16 // gpus, gpus=gpus) for gpus in (1, 2)],
    }  # fmt: skip


def test_a_page_offers_every_kind_but_that_of_free_axes() -> None:
    offered = {kind for kind, records in every_kind().items() if kind in applicable_kinds(declared(records))}
    assert offered == KINDS.keys() - {"axes"}


def test_the_kinds_that_apply_are_on_the_page() -> None:
    records = [make_record()]
    assert [one.kind for one in figures_of(declared(records))] == applicable_kinds(declared(records))


@pytest.mark.integration
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"axes"}))
def test_every_kind_is_drawn_for_the_page(kind: str) -> None:
    records = every_kind()[kind]
    (shown,) = figures_of(declared(records), [kind])
    assert shown.title
    assert shown.source
    assert svg(draw(kind, declared(records), Options(style="dark"))).count("<svg") == 1
