"""Write the images of docs/plots.md: `python -m scripts.plot_images [DIRECTORY]`.

Logs are made, read and plotted as by `dlbs plot`. An image that looks the same as before is not rewritten, because versions of matplotlib differ
in the last bits of a curve. The images are also the references of tests.
"""

from __future__ import annotations

import io
import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark_core.log import key_line
from dlbs.config.load import load_config
from dlbs.results.plots.kinds import draw, rendered
from dlbs.results.plots.plot import Options
from dlbs.results.read.onelog import Reading
from dlbs.results.read.records import read_runs
from dlbs.results.runs import Runs

if TYPE_CHECKING:
    import numpy


Record = dict[str, Any]
# ms of overhead, ms per instance, FLOP per instance, bytes per batch and per instance
_MODELS = {
    "alexnet": (2.0, 0.31, 1.4e9, 4.9e8, 9e6),
    "resnet50": (6.0, 1.30, 8.2e9, 2.0e8, 2.9e8),
    "vgg16": (3.0, 3.10, 31.0e9, 1.1e9, 1.9e8),
}
_PEAK = 40e12


@dataclass(frozen=True, slots=True)
class Example:
    """A plot in the manual.

    Attributes:
        kind: A key of `KINDS`.
        records: Makes the content of the logs.
        options: Options of the plot.
        tag: Makes the tag of a log in a store; None for an example without a store.
    """

    kind: str
    records: Callable[[], Iterator[Record]]
    options: Options = field(default_factory=Options)
    tag: Callable[[Record], str] | None = None


def read_example(example: Example, directory: Path) -> Sequence[Mapping[str, Any]]:
    """The results of an example: its logs are written to a directory and read from there, or from a store if it has tags."""
    files: dict[str, list[str]] = {}
    for number, record in enumerate(example.records()):
        path = directory / f"{number:04}.log"
        path.write_text("".join(f"{key_line(key, value)}\n" for key, value in record.items()), encoding="utf-8")
        files.setdefault(example.tag(record) if example.tag else "", []).append(str(path))
    if example.tag is None:
        return read_runs(files.get("", []), Reading(), jobs=1)
    from dlbs.results.store.store import Store

    with Store(str(directory / "results.db")) as store:
        for tag, paths in files.items():
            store.add(read_runs(paths, Reading(), jobs=1), tag)
        return store.runs().records()


def _record(model: str, batch: int, repeat: int = 1, gpus: int = 1, *, share: float = 1.0, noise: float = 0.01, batches: int = 60, **more: Any) -> Record:  # fmt: skip
    """One run; `share` multiplies its times."""
    source = random.Random(repr((model, batch, repeat, gpus, sorted(map(repr, more.items())))))
    overhead, each, flops, fixed, moved = _MODELS[model]
    level = share * (overhead + each * batch) * source.gauss(1, noise)
    times = [level * source.lognormvariate(0, noise) for _ in range(batches)]
    mean = sum(times) / len(times)
    ordered = sorted(times)
    return {
        "exp.framework": "pytorch", "exp.framework_title": "PyTorch", "exp.framework_version": "2.13.0", "exp.phase": "inference",
        "exp.model": model, "exp.dtype": "float32", "exp.device_type": "gpu", "exp.replica_batch": batch,
        "exp.effective_batch": batch * gpus, "exp.num_gpus": gpus, "exp.gpus": ",".join(map(str, range(gpus))),
        "exp.device_title": "Example GPU", "exp.repeat": repeat, "exp.start_time": f"2026-11-01T10:{repeat:02}:00",
        "results.time": mean, "results.time_data": times, "results.time_p50": ordered[len(times) // 2],
        "results.time_p99": ordered[-1], "results.throughput": 1000 * batch * gpus / mean, "results.unit": "images",
        "results.memory_host": (300 + 2 * batch) * (1 << 20), "results.flops_per_batch": flops * batch,
        "results.bytes_per_batch": fixed + moved * batch, "results.flops": 1000 * flops * batch / mean,
        **{name.replace("__", "."): value for name, value in more.items()}, "exp.dlbs_version": "0.1.0", "exp.status": "ok",
    }  # fmt: skip


def _sweep() -> Iterator[Record]:
    """Three models over batch sizes, five runs each; one experiment failed, one run was disturbed."""
    for model in _MODELS:
        for batch in (1, 2, 4, 8, 16, 32, 64):
            for repeat in range(1, 6):
                record = _record(model, batch, repeat, noise=0.03)
                if (model, batch, repeat) == ("resnet50", 16, 3):
                    record["results.warnings"] = ["CPU contention: 31 % of the CPUs; rerun on an idle machine"]
                if (model, batch) == ("vgg16", 64):
                    record |= {"exp.status": "failure", "exp.status_msg": "out of memory"}
                yield record


def _types() -> Iterator[Record]:
    """Models, data types and batch sizes whose results differ by more than a factor of 30."""
    for dtype, share in (("float32", 1.0), ("float16", 0.45)):
        for model in _MODELS:
            for batch in (1, 8, 64):
                for repeat in range(1, 7):
                    yield _record(model, batch, repeat, share=share, noise=0.02, exp__dtype=dtype)


def _one_batch() -> Iterator[Record]:
    for record in _types():
        if record["exp.replica_batch"] == 8:
            yield record


def _allocators() -> Iterator[Record]:
    """One model with three allocators, many runs of each; one of them has two levels."""
    for malloc, share in (("system", 1.0), ("keep", 0.86), ("jemalloc", 0.9)):
        for repeat in range(1, 13):
            source = random.Random(f"{malloc} {repeat}")
            slow = 1.06 if malloc == "jemalloc" and repeat % 3 == 0 else 1.0
            record = _record("resnet50", 8, repeat, share=share * slow, noise=0.012, runtime__malloc=malloc)
            if malloc == "system":
                record["results.time_data"] = [
                    time * source.choice((1.0, 1.0, 1.12)) for time in record["results.time_data"]
                ]
            yield record


def _threads() -> Iterator[Record]:
    """Two allocators over threads, in two phases."""
    for phase, factor in (("inference", 1.0), ("training", 3.0)):
        for malloc, share in (("system", 1.0), ("keep", 0.8)):
            for threads in (1, 2, 4, 8):
                for repeat in range(1, 7):
                    time = factor * share * (0.2 + 0.8 / threads)
                    yield _record("resnet50", 8, repeat, share=time, noise=0.04, exp__phase=phase,
                                  pytorch__num_threads=threads, runtime__malloc=malloc)  # fmt: skip


def _gpus(fixed: str) -> Iterator[Record]:
    """One to eight GPUs with a fixed replica or effective batch."""
    for model, loss in (("resnet50", 0.03), ("vgg16", 0.12)):
        for gpus in (1, 2, 4, 8):
            batch = 64 if fixed == "replica" else 64 // gpus
            for repeat in range(1, 4):
                share = 1 + loss * math.log2(gpus)
                yield _record(model, batch, repeat, gpus, share=share, noise=0.005, exp__phase="training")


def _run() -> Iterator[Record]:
    """One run with a warm-up, a few slow batches, and a monitor."""
    source = random.Random(7)
    times = [float(5.2 * source.lognormvariate(0, 0.02)) for _ in range(160)]
    for at in (31, 90, 91):
        times[at] *= 1.7
    warmup = [11.0, 8.4, 6.9, 6.1, 5.7, 5.5, 5.4, 5.3]
    moments = [1000 + 0.05 * at for at in range(-1, 18)]
    yield _record("resnet50", 4) | {
        "results.time_data": times, "results.time_warmup_data": warmup, "results.time_data_start": 1000.0, "results.use.time": moments,
        "results.use.gpu_util": [[min(96.0, 60 + 9 * at + source.gauss(0, 1)) for at in range(len(moments))]],
        "results.use.gpu_mem": [[(1800 + min(at, 6) * 90) * (1 << 20) for at in range(len(moments))]],
    }  # fmt: skip


def _served() -> Iterator[Record]:
    """A server at increasing rates."""
    for rate in (20, 40, 60, 80, 100, 110, 116):
        for repeat in (1, 2, 3):
            base = (6 + 420 / (120 - rate)) * random.Random(f"{rate} {repeat}").gauss(1, 0.03)
            latencies = {
                f"results.serving.latency_{name}": base * factor
                for name, factor in (("p50", 1), ("p90", 2), ("p99", 3.2))
            }
            yield _record("resnet50", 1, repeat) | {
                "exp.phase": "serving", "serving.scenario": "server", "serving.target_qps": rate, "serving.target_latency": 150.0,
                "results.serving.qps": float(rate), "results.serving.offered_qps": float(rate), "results.serving.scenario": "server",
                **latencies,
            }  # fmt: skip


def _under_load() -> Iterator[Record]:
    """A server of language models with one to 128 users, in two precisions on four GPUs."""
    for dtype, most in (("bfloat16", 5200.0), ("float8", 8600.0)):
        for users in (1, 2, 4, 8, 16, 32, 64, 128):
            for repeat in (1, 2, 3):
                noise = random.Random(f"{dtype} {users} {repeat}").gauss(1, 0.02)
                total = noise * most * users / (users + 24)
                yield _record("resnet50", 1, repeat, exp__dtype=dtype, exp__num_gpus=4, serving__users=users) | {
                    "exp.model": "llama-3.1-8b", "exp.phase": "serving", "results.serving.tokens_per_second": total, "results.serving.tokens_per_second_user": total / users,
                    "results.serving.latency_p99": 256_000 * users / total,
                }  # fmt: skip


def _trained() -> Iterator[Record]:
    """Two optimisers, each from four seeds."""
    for optimiser, best, slope in (("sgd", 76.0, 0.16), ("adamw", 74.5, 0.3)):
        for repeat in range(1, 5):
            source = random.Random(f"{optimiser} {repeat}")
            curve = [best * (1 - math.exp(-slope * epoch - 0.15)) + source.gauss(0, 0.9) for epoch in range(1, 31)]
            yield _record("resnet50", 32, repeat, exp__phase="training", train__optimizer=optimiser) | {
                "results.epoch_accuracy_top1": curve,
                "results.accuracy_top1": max(curve),
            }


def _tagged() -> Iterator[Record]:
    """Twelve versions; the eighth slows one model down, the fifth speeds another up."""
    for version in range(1, 13):
        for repeat in range(1, 7):
            for model, share in (
                ("resnet50", 1.09 if version >= 8 else 1.0),
                ("alexnet", 0.9 if version >= 5 else 1.0),
            ):
                yield _record(
                    model, 32, repeat, share=share, noise=0.008, batches=4, exp__code__commit=f"v{version}"
                ) | {"exp.start_time": f"2026-{version:02}-01T10:{repeat:02}:00"}


def _kernels() -> Iterator[Record]:
    for model in _MODELS:
        for batch in (1, 16, 64):
            record = _record(model, batch)
            yield record | {"results.mfu": record["results.flops"] / _PEAK}


EXAMPLES = {
    one.kind: one
    for one in (
        Example("throughput", _sweep),
        Example(
            "axes", _threads, Options(x="pytorch.num_threads", y=["results.throughput"], series=["runtime.malloc"], facet=["exp.phase"])
        ),
        Example("weak", lambda: _gpus("replica")),
        Example("strong", lambda: _gpus("effective")),
        Example("bars", _one_batch),
        Example("distribution", _allocators),
        Example("batches", lambda: (one for one in _allocators() if one["exp.repeat"] < 4)),
        Example("series", _run),
        Example("heatmap", _types),
        Example("latency-throughput", _sweep),
        Example("interactivity", _under_load),
        Example("latency-load", _served),
        Example("accuracy", _trained),
        Example("history", _tagged, tag=lambda record: str(record["exp.code.commit"])),
        Example("roofline", _kernels, Options(peak_bandwidth=900)),
    )
}  # fmt: skip


IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
DOTS_PER_INCH = 100
TOLERANCE = 0.02  # fraction of the range from black to white
_BLOCK = 4  # pixels that are averaged, since edges of letters may shift


def image_of(example: Example) -> bytes:
    """The PNG file of an example."""
    with tempfile.TemporaryDirectory() as directory:
        records = read_example(example, Path(directory))
    figure = draw(example.kind, Runs.of(records, load_config().declarations), example.options)
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
