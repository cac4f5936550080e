"""Whether data loaders keep the GPU busy, by number of workers."""

from __future__ import annotations

import atexit
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from functools import cache, partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.sides import Effort, Measurement, NotHereError, compare, ours, ratio
from pytorch_benchmarks.data import make_dataset
from pytorch_benchmarks.data.source import open_source, synthetic_batches
from pytorch_benchmarks.devices import Precision, World, set_backends
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import ingestion_step, training_step


def measurements() -> Iterator[Measurement]:
    """Each loader with increasing numbers of workers, up to the number of CPUs."""
    most = len(os.sched_getaffinity(0))
    workers = sorted({count for count in (1, 4, 8, 16) if count <= most} | {min(most, 16)}, reverse=True)
    for backend in ("image_folder", "caffe_lmdb"):
        for loader in ("threads", "processes"):
            for count in workers:
                yield Measurement(f"{backend}, {count} {loader}", partial(_feeding, backend, loader, count))


@cache
def _data_set(backend: str, images: int) -> Path:
    """A data set of JPEG files of 256 × 256 pixels, or of such images as records; removed at the end of the process."""
    if backend == "caffe_lmdb":
        try:
            import lmdb  # noqa: F401
        except ImportError:
            raise NotHereError("requires the package lmdb") from None
    place = Path(tempfile.mkdtemp(prefix="dlbs-gpu-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    with redirect_stdout(StringIO()):
        code = make_dataset.main([backend, str(place / backend), f"--num_images={images}", "--num_classes=10"])
    assert code == 0
    return place / backend


def _feeding(backend: str, loader: str, workers: int, effort: Effort) -> Mapping[str, Any]:
    """Training of resnet50 on a data set, compared with training on one batch in the device's memory, and with loading alone."""
    batch, name = (4, "resnet18") if effort.tiny else (128, "resnet50")
    directory = _data_set(backend, 16 if effort.tiny else 1024)
    set_backends(parse_benchmark_options(["--model=m"]), tf32=False)
    device = effort.device
    # In bfloat16 a CPU without instructions for it takes minutes.
    precision = Precision(torch.float32, None if effort.tiny else torch.bfloat16, False, device.type)
    torch.manual_seed(1)
    with device:
        model = get_model(name)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    flags = [f"--model={name}", f"--batch_size={batch}", "--channels_last", "--data_shuffle"]
    flags += [f"--data_dir={directory}", f"--data_backend={backend}"]
    flags += [f"--num_loader_threads={workers}", f"--data_loader={loader}"]
    options = parse_benchmark_options(flags)
    loaded = open_source(options, model, device=device, dtype=torch.float32, world=World()).batches
    layout = torch.channels_last
    fixed = synthetic_batches(model, batch, device=device, dtype=torch.float32, seed=1, layout=layout)
    step = training_step(model, model, precision)
    try:
        found = compare(
            {
                "loaded": ours(step, loaded, device),
                "fixed": ours(step, fixed, device),
                "alone": ours(ingestion_step(), loaded, device),
            },
            effort,
        )
    finally:
        loaded.close()  # type: ignore[attr-defined]  # ends its workers
    return {
        "images/s": batch / statistics.median(found["loaded"]),
        "loading alone": batch / statistics.median(found["alone"]),
        "of a fixed batch": ratio(found, "loaded", "fixed"),
    }
