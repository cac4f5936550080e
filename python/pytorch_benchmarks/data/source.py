"""Open the source of batches that the options select."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.data.consumer import Consumer
from pytorch_benchmarks.data.crops import Crop
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.decode import MAX_PIXELS
from pytorch_benchmarks.data.loader import processes, threads
from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.data.prefetch import Normalise, on_gpu
from pytorch_benchmarks.data.synthetic import synthetic_batches
from pytorch_benchmarks.devices import copies_page_locked
from pytorch_benchmarks.distributed import World
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.options.common import CommonOptions

__all__ = [
    "Source",
    "crop_kind",
    "loaded",
    "loader_kind",
    "memory_layout",
    "open_dataset",
    "open_source",
    "picture_shape",
]


@dataclass(frozen=True, slots=True)
class Source:
    """Infinite batches (inputs, targets) on the device, and facts about them for the log."""

    batches: Iterator[tuple[Any, Any]]
    title: str
    facts: dict[str, Any] = field(default_factory=dict)


def open_source(
    options: BenchmarkOptions, model: Consumer, *, device: torch.device, dtype: torch.dtype, world: World
) -> Source:
    """Synthetic batches, or batches of a data set.

    Raises:
        UsageError: The data set is missing, empty, for the other backend, or does not fit the model.
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
        raise UsageError(f"--data {options.data} and --data_dir exclude each other: omit one")
    shape = picture_shape(model)
    dataset = open_dataset(options.data_dir, options.data_backend, options.max_image_pixels)
    order = Order(len(dataset), options.batch_size, options.data_shuffle, options.seed, world.rank, world.size)
    crop = Crop(crop_kind(options, evaluate=options.forward_only))
    layout = memory_layout(options.channels_last)
    normalise = Normalise(dtype, len(model.input_shape) == 1, model.num_classes, shape[0], device, layout)
    workers, kind = options.num_loader_threads, loader_kind(options, device)
    facts = {
        **dataset.describe(),
        "data_crop": crop.kind,
        "data_loader": kind if workers else "none",
        "data_loader_workers": workers,
    }
    batches = loaded(dataset, order, crop, shape, normalise, workers=workers, kind=kind)
    return Source(batches, options.data_backend, facts)


def open_dataset(directory: str, backend: str, max_pixels: int = MAX_PIXELS) -> Dataset:
    """Open a data set.

    Args:
        directory: Directory of its images or database.
        backend: `image_folder` or `caffe_lmdb`.
        max_pixels: Largest height times width of an image.

    Raises:
        UsageError: The data set is missing, empty, or for the other backend.
    """
    if backend == "image_folder":
        from pytorch_benchmarks.data.image_folder import ImageFolder

        return ImageFolder(directory, max_pixels)
    from pytorch_benchmarks.data.caffe_lmdb import CaffeLmdb

    return CaffeLmdb(directory, max_pixels)


def loaded(
    dataset: Dataset,
    order: Order,
    crop: Crop,
    shape: tuple[int, ...],
    normalise: Normalise,
    *,
    workers: int,
    kind: str = "threads",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Infinite batches (inputs, targets) of a data set on the device.

    Args:
        dataset: Images.
        order: Order of the images.
        crop: Crop of each image.
        shape: (channels, height, width) of the images.
        normalise: Converts to inputs and targets; it knows the device.
        workers: Number of workers that read and decode; 0 reads between batches.
        kind: `threads` or `processes`.
    """
    on_cpu, pinned = normalise.device.type == "cpu", copies_page_locked(normalise.device)
    if kind == "processes" and workers:
        read = processes(dataset, order, crop, shape, workers=workers, pinned=pinned)
        return (normalise(*batch) for batch in read) if on_cpu else on_gpu(read, normalise)
    if on_cpu:
        return threads(dataset, order, crop, shape, workers=workers, finish=normalise)
    return on_gpu(threads(dataset, order, crop, shape, workers=workers, pinned=pinned), normalise)


def _synthetic_memory(options: BenchmarkOptions, device: torch.device) -> str:
    memory = "device" if options.data in {"auto", "synthetic"} else options.data.removeprefix("synthetic/")
    if memory == "pinned" and not copies_page_locked(device):
        raise UsageError(
            f"--data synthetic/pinned: a {device.type} device does not copy from page-locked memory; use synthetic/device"
        )
    return memory


def memory_layout(channels_last: bool) -> torch.memory_format:
    """Memory layout of the pixels of a batch."""
    return torch.channels_last if channels_last else torch.contiguous_format


def crop_kind(options: CommonOptions, *, evaluate: bool) -> str:
    """The usual crop: random in training, centre in inference."""
    if options.crop != "auto":
        return options.crop
    if evaluate:
        return "center"
    return "random_resized" if options.data_backend == "image_folder" else "random_crop_mirror"


def loader_kind(options: CommonOptions, device: torch.device) -> str:
    """`threads` or `processes`.

    Threads hold the interpreter lock for a moment with each image. On a CPU the step computes during that time; a GPU waits, because the step
    launches its kernels: an H100 trained ResNet-50 with four threads at 56 % of its rate on a fixed batch, with four processes at 79 %.
    """
    if options.data_loader != "auto":
        return options.data_loader
    return "threads" if device.type == "cpu" else "processes"


def picture_shape(model: Consumer) -> tuple[int, int, int]:
    """(channels, height, width) of a model's input images; a model with vector inputs gets square grey images, flattened.

    Raises:
        UsageError: The model does not take images.
    """
    if model.unit != "images":
        raise UsageError(f"{model.title} does not take images: its instances are {model.unit}; omit --data_dir")
    shape = model.input_shape
    if len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    side = int(shape[0] ** 0.5)
    if len(shape) != 1 or side * side != shape[0]:
        raise UsageError(f"{model.title} does not take images: its inputs have shape {shape}")
    return (1, side, side)
