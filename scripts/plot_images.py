"""Write the images of docs/plots.md: `python -m scripts.plot_images [DIRECTORY]`.

Logs are made, read and plotted as by `dlbs plot`. An image that looks the same as before is not rewritten, because versions of matplotlib differ
in the last bits of a curve. The images are also the references of tests.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dlbs.config.load import load_config
from dlbs.results.plots.figure import draw, rendered
from scripts.plot_examples import EXAMPLES, Example, read_example

if TYPE_CHECKING:
    import numpy

__all__ = ["IMAGES", "TOLERANCE", "difference", "image_of"]

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
DOTS_PER_INCH = 100
TOLERANCE = 0.02  # fraction of the range from black to white
_BLOCK = 4  # pixels that are averaged, since edges of letters may shift


def image_of(example: Example) -> bytes:
    """The PNG file of an example."""
    with tempfile.TemporaryDirectory() as directory:
        records = read_example(example, Path(directory))
    figure = draw(example.kind, records, load_config().declarations, example.options)
    return rendered(figure, "png", DOTS_PER_INCH)


def difference(one: bytes, other: bytes) -> float:
    """The visible difference of two PNG files, 0 to 1: the root mean square over blocks of pixels in the tenth of the image that differs most.

    Not over the whole image, because most of a plot is white. Images of different sizes differ by 1.
    """
    import numpy

    first, second = _blocks(one), _blocks(other)
    if first.shape != second.shape:
        return 1.0
    squares = numpy.sort(((first - second) ** 2).mean(axis=2).ravel())
    return float(numpy.sqrt(squares[-max(1, len(squares) // 10) :].mean()))


def _blocks(image: bytes) -> numpy.ndarray:
    """Mean colours of blocks of pixels, (height, width, 3), 0 to 1."""
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(image), format="png")[:, :, :3]
    height, width = (size - size % _BLOCK for size in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, 3)
    means: numpy.ndarray = blocks.mean(axis=(1, 3))
    return means


def main() -> None:
    """Write all images."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    directory.mkdir(parents=True, exist_ok=True)
    for kind, example in EXAMPLES.items():
        path = directory / f"plot-{kind}.png"
        image = image_of(example)
        if path.exists() and difference(path.read_bytes(), image) <= TOLERANCE:
            print(f"{path}: unchanged")
        else:
            path.write_bytes(image)
            print(f"{path}: written")


if __name__ == "__main__":
    main()
