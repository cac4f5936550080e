"""Write the images of pages in the manual: `python -m scripts.page_images [DIRECTORY]`; needs Chromium.

The report, the comparison and the history show the results of the examples in plot_images.py; the live view shows a plan during its run.
The plot in docs/first-hour.md shows the rates that are quoted there.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from dlbs.results.read.records import write_records
from scripts.plot_images import EXAMPLES, IMAGES, read_example
from tests.made_logs import make_record
from tests.services import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Page

_DLBS = (sys.executable, "-m", "dlbs")
_PLAN = ("-Pexp.repeats=6", "-Pexp.num_batches=25", "--", "gzip", "-kf", "-{level}", "data", "-Vlevel=1,6,9")
_ENDED = 9  # experiments of the plan, of 18, before the image of the live view


def write_results(directory: Path) -> None:
    """Write results.json and threads.json, from examples, and the pages report.html and comparison.html; and the store results.db."""
    for kind, name in (("throughput", "results"), ("axes", "threads")):
        with tempfile.TemporaryDirectory() as logs:
            write_records(str(directory / f"{name}.json"), read_example(EXAMPLES[kind], Path(logs)))
    read_example(EXAMPLES["history"], directory)
    for words in (
        ("report", "results.json", "--plots", "throughput", "--html", "report.html"),
        ("compare", "threads.json", "--by", "runtime.malloc", "--html", "comparison.html"),
    ):
        subprocess.run([*_DLBS, *words], cwd=directory, check=True)


@contextmanager
def _served(directory: Path, *arguments: str) -> Iterator[str]:
    """The URL of `dlbs serve`."""
    server = subprocess.Popen(
        [*_DLBS, "serve", *arguments, "--port", "0"], cwd=directory, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        found = re.match(r"http://\S+", line)
        if not found:
            raise SystemExit(f"dlbs serve: {line}{server.stderr.read()}")
        yield found[0]
    finally:
        server.terminate()
        server.communicate()


def plot_first_hour(directory: Path, image: Path) -> None:
    """Plot the rates of the experiments that docs/first-hour.md quotes."""
    lines = re.findall(
        r"batch (\d+), repeat (\d+): ok in .* ([\d.,]+) images/s", (IMAGES.parent / "first-hour.md").read_text()
    )
    write_records(
        str(directory / "first.json"),
        [
            make_record("deep_mnist", int(batch), repeat=int(repeat), time=1000 * int(batch) / float(rate.replace(",", "")), noise=0, exp__device_type="cpu", exp__device_title="")
            for batch, repeat, rate in lines
        ],
    )  # fmt: skip
    subprocess.run([*_DLBS, "plot", "first.json", "-o", str(image.resolve())], cwd=directory, check=True)
    print(image)


def take(page: Page, directory: Path, images: Path) -> None:
    """Write page-report.png and the others, of the top of each page.

    Args:
        page: A tab.
        directory: With what `write_results` wrote.
        images: Where to write.
    """

    def shot(name: str, url: str, height: int = 900) -> None:
        page.set_viewport_size({"width": 1280, "height": height})
        page.goto(url)
        page.wait_for_timeout(3000)
        path = images / f"page-{name}.png"
        image = Image.open(io.BytesIO(page.screenshot()))
        image.quantize(256).save(path, optimize=True)  # half of the size
        print(path)

    shot("report", (directory / "report.html").as_uri(), 1150)
    shot("comparison", (directory / "comparison.html").as_uri(), 820)
    with _served(directory, "--db", "results.db") as url:
        shot("history", url, 560)
    (directory / "data").write_bytes(bytes(number * number % 251 for number in range(10_000_000)))
    with subprocess.Popen([*_DLBS, "run", *_PLAN], cwd=directory, stderr=subprocess.DEVNULL) as plan:
        while len(list(directory.glob("logs/*.log"))) < _ENDED and plan.poll() is None:
            time.sleep(0.1)
        with _served(directory, "logs") as url:
            shot("live", url)


def main() -> None:
    """Write all images."""
    from playwright.sync_api import sync_playwright

    images = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as driver:
        write_results(Path(directory))
        plot_first_hour(Path(directory), images / "first-plot.png")
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        take(browser.new_page(), Path(directory), images)
        browser.close()


if __name__ == "__main__":
    main()
