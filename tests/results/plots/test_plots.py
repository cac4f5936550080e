"""Plots: what is in them is read from the figures themselves; files are whole or not there."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from dlbs.core.errors import ConfigError, LogError
from dlbs.results.plots.kinds import FORMATS, KINDS, draw, rendered, save, svg, title_of
from dlbs.results.plots.plot import Options
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record

Records = list[dict[str, Any]]


def drawn(kind: str, records: Records, **options: Any) -> Any:
    return draw(kind, declared(records), Options(**options))


def sweep(**more: Any) -> Records:
    return [
        make_record(model, batch, time=5 + batch * factor, repeat=repeat, results__flops=1e12, results__flops_per_batch=1e10,
                    results__bytes_per_batch=1e8 * batch, results__mfu=0.1, **more)
        for model, factor in (("a", 1), ("b", 2)) for batch in (1, 2, 16) for repeat in (1, 2, 3)
    ]  # fmt: skip


def test_throughput_has_a_line_for_each_model_over_a_binary_axis() -> None:
    (axes,) = drawn("throughput", sweep()).axes
    assert axes.get_xscale() == "log"
    assert axes.get_yscale() == "linear"
    assert axes.get_ylabel() == "throughput, images/s"
    assert axes.get_xlabel() == "replica batch, instances"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "16"]
    assert axes.get_legend_handles_labels()[1] == ["a", "b"]
    xs = axes.containers[0].lines[0].get_xdata()
    assert list(xs) == [1, 2, 16]


def test_a_wide_range_gets_a_logarithmic_axis() -> None:
    records = [make_record(model, 1, time=time) for model, time in (("slow", 1000.0), ("fast", 1.0))]
    assert drawn("bars", records).axes[0].get_yscale() == "log"
    assert drawn("bars", records, log_scale=False).axes[0].get_yscale() == "linear"


def test_scaling_has_the_ideal_line() -> None:
    records = [make_record("a", 8, gpus=gpus, time=10.0) for gpus in (1, 2, 4)]
    (axes,) = drawn("weak", records).axes
    ideal = next(line for line in axes.lines if line.get_label() == "ideal")
    assert list(ideal.get_xdata()) == list(ideal.get_ydata()) == [1, 2, 4]
    strong = [make_record("a", 16 // gpus, gpus=gpus, time=10.0 / gpus) for gpus in (1, 2, 4)]
    assert title_of(drawn("strong", strong)) == "Strong scaling: speed-up with the effective batch fixed"


def test_scaling_has_a_line_for_each_layout_of_the_devices() -> None:
    records = [
        {**make_record("a", 8, gpus=gpus, time=10.0 * replica), "exp.num_replicas": gpus // replica, "exp.gpus": ids}
        for gpus, replica, ids in ((2, 1, "0,1"), (4, 1, "0,1,2,3"), (2, 2, "0:1"), (4, 2, "0:1,2:3"))
    ]
    (axes,) = drawn("weak", records).axes
    assert {words.get_text() for words in axes.texts} == {"GPUs per replica=1", "GPUs per replica=2", "ideal"}


def test_bars_stand_beside_each_other_in_order() -> None:
    (axes,) = drawn("bars", sweep()).axes
    assert axes.get_legend_handles_labels()[1] == ["batch 1", "batch 2", "batch 16"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b"]
    assert len(axes.patches) == 6


def test_a_series_shows_warm_up_outliers_and_what_was_watched() -> None:
    record = make_record(results__time_warmup_data=[30.0, 20.0], results__time_data_start=5.0)
    record["results.time_data"][30] = 99.0
    assert len(drawn("series", [record]).axes) == 1
    record |= {"results.use.time": [5.0, 5.1, 5.2], "results.use.cpu": [1, 2, 3]}
    first, second = drawn("series", [record]).axes
    assert {"batch", "running median", "warm-up", "outlier"} <= set(first.get_legend_handles_labels()[1])
    assert second.get_ylabel().startswith("CPU time")


def test_series_of_several_runs_have_a_panel_each() -> None:
    records = [make_record("a", repeat=1), make_record("a", repeat=2), make_record("b"), make_record(status="failure")]
    figure = drawn("series", records)
    assert [axes.get_title("left") for axes in figure.axes] == ["a, repeat 1", "a, repeat 2", "b, repeat 1"]
    assert figure.axes[-1].get_xlabel() == "timed batch"
    assert "1 of 4 experiments have no value" in " ".join(words.get_text() for words in figure.texts)


def test_a_heat_map_says_why_a_cell_is_empty() -> None:
    figure = drawn("heatmap", [*sweep(), make_record("b", 64, status="failure")])
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "failure" in words
    assert "-" in words
    assert len(words) == 8


def test_a_roofline_has_its_roof_where_it_is_known() -> None:
    (axes,) = drawn("roofline", sweep(), peak_bandwidth=100.0).axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert {"peak: 10 TFLOP/s", "memory: 100 GB/s"} == {text.get_text() for text in axes.texts}
    assert axes.get_ylabel() == "achieved performance, TFLOP/s"
    assert axes.get_xlabel() == "arithmetic intensity, FLOP/byte"
    (axes,) = drawn("roofline", sweep(), peak_tflops=20.0).axes
    assert "peak: 20 TFLOP/s" in {text.get_text() for text in axes.texts}


@pytest.mark.parametrize(
    ("spread", "least"),
    [
        *product([1.0001, 1.5, 6.0], [0.0123, 2.1, 960.0]),
        *product([9.0, 20.0, 95.0, 5000.0], [2.1]),  # wherever they begin, there are whole decades among them
    ],
)
def test_a_roofline_has_numbers_on_both_axes_whatever_it_spans(spread: float, least: float) -> None:
    points = [
        make_record(
            name, 8, results__flops=1e9 * value, results__flops_per_batch=1e6 * value, results__bytes_per_batch=1e6
        )
        for name, value in (("a", least), ("b", least * spread))
    ]
    figure = drawn("roofline", points)
    figure.draw_without_rendering()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        low, high = sorted(axis.get_view_interval())
        words = [
            tick.label1.get_text()
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
            if low <= tick.get_loc() <= high and tick.label1.get_text()
        ]
        assert 2 <= len(words) <= 12, (words, low, high)
        assert not any("$" in word for word in words)


@pytest.mark.parametrize("malloc", ["a", "a setting with a rather long name"])
def test_a_note_on_doubtful_runs_covers_nothing(malloc: str) -> None:
    runs = [
        {**make_record("m", batch, seed=n), "runtime.malloc": f"{malloc} {n}", "results.warnings": ["drift: 9 %"]}
        for batch in (1, 2)
        for n in range(3)
    ]
    figure = drawn("throughput", runs)
    figure.draw_without_rendering()
    note = figure.findobj(lambda one: isinstance(one, Text) and "doubtful" in one.get_text())[-1]
    names = [words for legend in figure.legends for words in legend.get_texts()] or figure.axes[0].texts
    assert len(names) == 3
    others = [*names, figure.axes[0].xaxis.label, *figure.axes[0].get_xticklabels()]
    place = note.get_window_extent()
    assert place.width > 0
    assert not [one.get_text() for one in others if place.overlaps(one.get_window_extent())]


def test_experiments_without_a_value_are_counted() -> None:
    figure = drawn("throughput", [*sweep(), make_record("c", status="failure")])
    assert "1 of 19 experiments have no value" in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("kind", list(KINDS))
def test_hostile_names_are_texts(kind: str) -> None:
    name = r"$\frac{1}{0}$ <script>&\x1b"
    more = {
        "flops": 1e9,
        "flops_per_batch": 1e9,
        "bytes_per_batch": 1e6,
        "serving.offered_qps": 5.0,
        "serving.latency_p99": 7.0,
        "serving.tokens_per_second": 8.0,
        "serving.tokens_per_second_user": 9.0,
    }
    results = {f"results.{key}": value for key, value in more.items()}
    results |= {"results.epoch_accuracy_top1": [1.0, 2.0], "db.tags": [name]}
    effective = {"exp.effective_batch": 8} if kind == "strong" else {}
    records = [make_record(name, 8, gpus=gpus, serving__users=gpus, **results) | effective for gpus in (1, 2)]
    words = svg(drawn(kind, records[:1] if kind == "series" else records))
    assert "<script>" not in words
    assert r"$\frac{1}{0}$ &lt;script&gt;&amp;" in words


@pytest.mark.integration
@pytest.mark.parametrize("form", list(FORMATS))
def test_the_same_results_are_the_same_file(form: str) -> None:
    one, other = (rendered(drawn("bars", sweep()[:9]), form) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("kind", "records", "said"),
    [
        ("throughput", [make_record(status="failure")], "no experiment succeeded: 1 failure"),
        ("roofline", [make_record()], "counts of operations"),
        ("series", [make_record()] * 13, "13 runs are too many for one plot"),
        ("series", [make_record(status="failure")], "no experiment has batch times"),
        ("weak", [make_record(status="failure")], "no experiment succeeded: 1 failure"),
        ("throughput", [make_record(f"m{n}") for n in range(30)], "30 lines are too many"),
    ],
)
def test_what_cannot_be_drawn_is_a_clear_error(kind: str, records: Records, said: str) -> None:
    with pytest.raises(LogError, match=said):
        drawn(kind, records)


@pytest.mark.integration
def test_files(tmp_path: Path) -> None:
    figure = drawn("throughput", sweep())
    save(figure, str(tmp_path / "new" / "a.png"))
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    save(figure, str(tmp_path / "a.svg"))
    assert re.search(r"<svg[^>]*viewBox", (tmp_path / "a.svg").read_text())
    save(figure, str(tmp_path / "a.pdf"))
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(LogError, match=r"unknown image format \(use .png, .svg or .pdf"):
        save(figure, str(tmp_path / "a.gif"))
    with pytest.raises(ConfigError, match="cannot be written"):
        save(figure, "/proc/nope/a.png")


@pytest.mark.integration
def test_the_command(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", sweep())
    for kind in ("throughput", "bars", "heatmap"):
        done = dlbs("plot", "logs", "--type", kind, "-o", f"{kind}.png", "--title", "Ours")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{kind}.png").stat().st_size > 5000
    axes = ("--y", "results.throughput,results.time", "--facet", "exp.model", "--baseline", "exp.replica_batch=1")
    done = dlbs("plot", "logs", *axes, "-o", "axes.svg", check=True)
    assert done.stderr == "18 experiments → axes.svg\n"
    assert "relative to exp.replica_batch=1" in (tmp_path / "axes.svg").read_text()
    done = dlbs("plot", "logs", "--style", "dark", "--size", "900x600px", "-o", "dark.png", check=True)
    assert (tmp_path / "dark.png").read_bytes()[16:24] == bytes.fromhex("0000038400000258")  # width and height
    done = dlbs("plot", "logs", "--style", "paper", "--size", "8x6cm", "-o", "paper.pdf", check=True)
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    dlbs("db", "add", "logs", "--tag", "v1", "--db", "results.db", check=True)
    dlbs("plot", "--db", "results.db", "--type", "history", "--mark", "v1", "-o", "history.svg", check=True)
    assert "tag, in chronological order" in (tmp_path / "history.svg").read_text()
    done = dlbs("plot", "logs", "--size", "large", "-o", "x.png")
    assert done.returncode == 2
    assert "--size: 'large' is not a size (write 8x5 (inches), 16x9cm or 1200x700px)" in done.stderr
    done = dlbs("plot", "logs", "--baseline", "exp.model", "-o", "x.png")
    assert done.returncode == 2
    assert "--baseline: 'exp.model' is not NAME=VALUE (such as exp.framework=pytorch)" in done.stderr
    done = dlbs("plot", "logs", "-o", "x.gif")
    assert done.returncode == 2
    assert "x.gif: unknown image format" in done.stderr
