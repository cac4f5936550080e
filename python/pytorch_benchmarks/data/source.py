"""Choose where batches come from, as the options say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from pytorch_benchmarks.data.crops import Crop
from pytorch_benchmarks.data.loader import processes, threads
from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.data.prefetch import Normalise, on_gpu
from pytorch_benchmarks.data.synthetic import synthetic_batches
from pytorch_benchmarks.distributed import World
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options import Options

__all__ = ["Source", "open_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """Batches (inputs, targets) on the device, for ever, and facts about them for the log."""

    batches: Iterator[tuple[Any, Any]]
    title: str
    facts: dict[str, Any] = field(default_factory=dict)


def open_source(options: Options, model: Model, *, device: torch.device, dtype: torch.dtype, world: World) -> Source:
    """Synthetic batches, or those of a data set.

    Raises:
        UsageError: The data set is missing, empty, of the other backend, or does not fit the model.
    """
    if not options.data_dir:
        seed = options.seed + world.rank
        memory = _synthetic_memory(options, device)
        layout = memory_layout(options.channels_last)
        fixed = synthetic_batches(
            model, options.batch_size, device=device, dtype=dtype, seed=seed, layout=layout, memory=memory
        )
        return Source(fixed, f"synthetic/{memory}")
    if options.data != "auto":
        raise UsageError(f"--data {options.data} and --data_dir exclude each other: leave one out")
    if model.unit != "images":
        raise UsageError(f"{model.title} cannot be fed with images: it works on {model.unit}; leave --data_dir out")
    shape = model.input_shape if len(model.input_shape) == 3 else _image_shape(model)
    if options.data_backend == "image_folder":
        from pytorch_benchmarks.data.image_folder import ImageFolder as Backend
    else:
        from pytorch_benchmarks.data.caffe_lmdb import CaffeLmdb as Backend  # type: ignore[assignment]
    dataset = Backend(options.data_dir)
    order = Order(len(dataset), options.batch_size, options.data_shuffle, options.seed, world.rank, world.size)
    crop = Crop(_crop_kind(options))
    layout = memory_layout(options.channels_last)
    normalise = Normalise(dtype, len(model.input_shape) == 1, model.num_classes, shape[0], device, layout)
    on_cpu = device.type == "cpu"
    workers = options.num_loader_threads
    if options.data_loader == "processes" and workers:
        loaded = processes(dataset, order, crop, shape, workers=workers, pinned=not on_cpu)
        batches = (normalise(*batch) for batch in loaded) if on_cpu else on_gpu(loaded, normalise)
    elif on_cpu:
        batches = threads(dataset, order, crop, shape, workers=workers, finish=normalise)
    else:
        batches = on_gpu(threads(dataset, order, crop, shape, workers=workers, pinned=True), normalise)
    facts = {
        **dataset.describe(),
        "data_crop": crop.kind,
        "data_loader": options.data_loader if workers else "none",
        "data_loader_workers": workers,
    }
    return Source(batches, options.data_backend, facts)


def _synthetic_memory(options: Options, device: torch.device) -> str:
    memory = "device" if options.data == "auto" else options.data.removeprefix("synthetic/")
    if memory == "pinned" and device.type not in {"cuda", "xpu"}:
        raise UsageError(
            f"--data synthetic/pinned: a {device.type} does not copy from page-locked memory; use synthetic/device"
        )
    return memory


def memory_layout(channels_last: bool) -> torch.memory_format:
    """How the pixels of a batch lie in memory."""
    return torch.channels_last if channels_last else torch.contiguous_format


def _crop_kind(options: Options) -> str:
    """What is usual: training crops at random, inference takes the middle."""
    if options.crop != "auto":
        return options.crop
    if options.forward_only:
        return "center"
    return "random_resized" if options.data_backend == "image_folder" else "random_crop_mirror"


def _image_shape(model: Model) -> tuple[int, int, int]:
    """A model that wants vectors, such as deep_mnist, gets square grey images as vectors."""
    side = int(model.input_shape[0] ** 0.5)
    if len(model.input_shape) != 1 or side * side != model.input_shape[0]:
        raise UsageError(f"{model.title} cannot be fed with images: its inputs are {model.input_shape}")
    return (1, side, side)
