"""What stands around the axes: title, device, software, the meaning of marks, and names of lines that cover no data."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.plots.draw import STYLES, _apart, size_of
from dlbs.results.plots.kinds import draw, title_of
from dlbs.results.plots.plot import Options
from tests.made_logs import declared, make_record

Records = list[dict[str, Any]]
SOFTWARE = {"exp.framework_title": "PyTorch", "exp.framework_version": "2.13.0"}


def drawn(kind: str, records: Records, **options: Any) -> Any:
    return draw(kind, declared(records), Options(**options))


def sweep(models: str = "abc", runs: int = 3, **more: Any) -> Records:
    return [
        {**make_record(model, batch, time=place * (5 + batch), repeat=repeat, **more), **SOFTWARE}
        for place, model in enumerate(models, 1)
        for batch in (1, 2, 16)
        for repeat in range(1, runs + 1)
    ]


def words_of(figure: Any) -> list[str]:
    return [one.get_text() for one in figure.texts]


def test_the_title_says_what_is_drawn_and_the_next_line_on_which_device_with_which_software() -> None:
    first, second, *_ = words_of(drawn("throughput", sweep()))
    assert first == "Throughput against replica batch"
    assert second == "training, float32, gpu · Imaginary GPU · PyTorch 2.13.0"


def test_several_devices_and_versions_are_named_up_to_a_few() -> None:
    records = [
        {**record, "exp.device_title": f"GPU {at}", "exp.framework_version": f"2.{at % 2}"}
        for at, record in enumerate(sweep("abcde", 1))
    ]
    line = words_of(drawn("bars", records))[1]
    assert "GPU 0, GPU 1, GPU 2 and 12 more · PyTorch 2.0, PyTorch 2.1" in line


def test_a_title_of_ones_own_replaces_the_usual_one_and_keeps_the_rest() -> None:
    figure = drawn("bars", sweep(), title="Our new machine")
    assert title_of(figure) == "Our new machine"
    assert "Imaginary GPU" in words_of(figure)[1]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (1, "points: single runs; no error bars"),
        (3, "points: median of 3 runs; error bars: 75 % confidence interval of the median"),
        (6, "points: median of 6 runs; error bars: 95 % confidence interval of the median"),
    ],
)
def test_the_text_below_says_what_points_and_error_bars_are(runs: int, said: str) -> None:
    assert said in words_of(drawn("throughput", sweep("a", runs)))


def test_error_bars_of_single_runs_are_called_what_they_are() -> None:
    records = [{**record, "results.throughput_ci95": [10.0, 2000.0]} for record in sweep("a", 1)]
    said = "points: single runs; error bars: 95 % confidence interval from the batches"
    assert said in words_of(drawn("throughput", records))


def test_doubtful_points_are_hollow_and_counted() -> None:
    records = sweep("a", 1)
    records[1]["results.warnings"] = ["drift: 9 %"]
    figure = drawn("throughput", records)
    (hollow,) = [line for line in figure.axes[0].lines if line.get_gid() == "doubtful"]
    assert list(hollow.get_xdata()) == [2]
    assert hollow.get_markerfacecolor() != hollow.get_color()
    assert "hollow: 1 of 3 runs doubtful: drift 1" in words_of(figure)


def test_few_lines_are_named_at_their_ends_and_many_in_a_legend_beside_the_axes() -> None:
    few = drawn("throughput", sweep("abc"))
    assert not few.legends
    names = {one.get_text(): one for one in few.axes[0].texts}
    assert set(names) == {"a", "b", "c"}
    colours = [line.lines[0].get_color() for line in few.axes[0].containers]
    assert [names[name].get_color() for name in "abc"] == colours
    few.draw_without_rendering()
    inside = few.axes[0].get_window_extent()
    assert all(one.get_window_extent().x0 >= inside.x1 for one in names.values())
    many = drawn("throughput", sweep("abcdefgh", 1))
    many.draw_without_rendering()
    (legend,) = many.legends
    assert not legend.get_window_extent().overlaps(many.axes[0].get_window_extent())
    assert not many.axes[0].texts


@pytest.mark.parametrize("kind", ["throughput", "bars", "latency-throughput"])
def test_a_legend_with_long_labels_stands_below_and_covers_neither_axes_nor_notes(kind: str) -> None:
    records = [
        {**make_record(model, batch), "runtime.malloc": f"a setting with quite a long name {n}"}
        for model in "ab"
        for batch in (1, 2)
        for n in range(4)
    ]
    figure = drawn(kind, records)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    place = legend.get_window_extent()
    assert not place.overlaps(figure.axes[0].get_tightbbox())
    assert not [one.get_text() for one in figure.texts if place.overlaps(one.get_window_extent())]
    assert place.x0 >= 0
    assert place.x1 <= figure.bbox.x1


def test_names_of_lines_that_end_together_stand_apart() -> None:
    places = _apart([0.5, 0.5, 0.5, 0.9], 0.1)
    assert places == pytest.approx([0.4, 0.5, 0.6, 0.9])
    assert _apart([0.0, 0.0], 0.2) == pytest.approx([0.0, 0.2])
    assert _apart([1.0, 1.0], 0.2) == pytest.approx([0.8, 1.0])


def test_points_of_several_lines_at_one_place_stand_apart_without_other_data() -> None:
    (axes,) = drawn("throughput", sweep("ab")).axes
    first, second = (one.lines[0] for one in axes.containers)
    assert list(first.get_xdata()) == list(second.get_xdata()) == [1, 2, 16]
    shown = [one.get_transform().transform(one.get_xydata())[0][0] for one in (first, second)]
    assert shown[1] - shown[0] == pytest.approx(4 / 72 * axes.figure.dpi)


def test_long_notes_and_titles_are_broken_into_lines_within_the_figure() -> None:
    figure = drawn("bars", sweep("a", 1), title="word " * 40, size="4x3")
    figure.draw_without_rendering()
    assert len([one for one in figure.texts if "word" in one.get_text()]) > 3
    assert all(one.get_window_extent().x1 <= figure.bbox.x1 for one in figure.texts)


@pytest.mark.parametrize(
    ("words", "inches"),
    [("8x5", (8, 5)), ("16 x 9cm", (16 / 2.54, 9 / 2.54)), ("100×80mm", (100 / 25.4, 80 / 25.4)), ("1200x600px", (8, 4))],
)  # fmt: skip
def test_sizes(words: str, inches: tuple[float, float]) -> None:
    assert size_of(words) == pytest.approx(inches)
    assert tuple(drawn("heatmap", sweep("a", 1), size=words).get_size_inches()) == pytest.approx(inches)


@pytest.mark.parametrize(
    "words", ["", "8", "8x", "x5", "8x5furlongs", "0x5", "8x-5", "1e3x5", "9999x5", "8x5x3", "٣x٣"]
)
def test_what_is_no_size_is_an_error(words: str) -> None:
    with pytest.raises(LogError) as raised:
        drawn("bars", sweep("a", 1), size=words)
    assert raised.value.where == "--size"


@pytest.mark.parametrize("style", list(STYLES))
def test_styles_have_their_own_colours_and_sizes(style: str) -> None:
    figure = drawn("throughput", sweep("abc"), style=style)
    is_dark = sum(figure.get_facecolor()[:3]) < 1
    assert is_dark == (style == "dark")
    ink = figure.axes[0].xaxis.label.get_color()
    assert (ink != "black") == is_dark
    assert {"paper": 8, "slides": 16}.get(style, 10) == figure.axes[0].xaxis.label.get_fontsize()


def test_an_unknown_style_is_an_error_with_a_hint() -> None:
    with pytest.raises(LogError, match=r"--style: unknown style 'drak' .*did you mean 'dark'"):
        drawn("bars", sweep("a", 1), style="drak")
