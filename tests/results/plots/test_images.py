"""Each kind of plot, drawn today, looks as its image in the manual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_rgba

from dlbs.results.plots.kinds import KINDS, draw, rendered
from scripts.plot_images import DOTS_PER_INCH, EXAMPLES, IMAGES, TOLERANCE, difference, image_of, read_example
from tests.made_logs import declared

_LARGEST = 1_000_000  # bytes of all images


def drawn(kind: str, directory: Path) -> Any:
    return draw(kind, declared(read_example(EXAMPLES[kind], directory)), EXAMPLES[kind].options)


def test_each_kind_has_an_example_an_image_and_a_place_in_the_manual() -> None:
    assert list(EXAMPLES) == list(KINDS)
    assert {path.name for path in IMAGES.glob("plot-*")} == {f"plot-{kind}.png" for kind in KINDS}
    assert sum(path.stat().st_size for path in IMAGES.glob("plot-*")) < _LARGEST
    page = (IMAGES.parent / "plots.md").read_text()
    for kind in KINDS:
        assert f"`{kind}`" in page
        assert f"](images/plot-{kind}.png)" in page


@pytest.mark.integration
@pytest.mark.parametrize("kind", list(KINDS))
def test_it_looks_as_its_image(kind: str) -> None:
    stored = (IMAGES / f"plot-{kind}.png").read_bytes()
    assert difference(stored, image_of(EXAMPLES[kind])) <= TOLERANCE, "python -m scripts.plot_images, and look at it"


@pytest.mark.integration
def test_a_point_a_colour_a_label_or_a_title_that_changes_is_seen(tmp_path: Path) -> None:
    figure = drawn("throughput", tmp_path)
    (axes,) = figure.axes
    before = rendered(figure, "png", DOTS_PER_INCH)
    assert difference(before, before) == 0

    line = axes.containers[1].lines[0]
    values = line.get_ydata().copy()
    line.set_ydata([*values[:3], 1.4 * values[3], *values[4:]])
    assert difference(before, rendered(figure, "png", DOTS_PER_INCH)) > TOLERANCE
    line.set_ydata(values)
    line.set_color(to_rgba("tab:purple"))
    assert difference(before, rendered(figure, "png", DOTS_PER_INCH)) > TOLERANCE
    line.set_color(axes.texts[1].get_color())
    axes.set_ylabel("throughput")
    assert difference(before, rendered(figure, "png", DOTS_PER_INCH)) > TOLERANCE
    axes.set_ylabel("throughput, images/s")
    figure.texts[0].set_visible(False)
    assert difference(before, rendered(figure, "png", DOTS_PER_INCH)) > TOLERANCE


@pytest.mark.integration
def test_images_of_other_sizes_differ(tmp_path: Path) -> None:
    figure = drawn("bars", tmp_path)
    assert difference(rendered(figure, "png", 50), rendered(figure, "png", 60)) == 1
