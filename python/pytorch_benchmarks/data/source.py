"""The batches that the options select, on the device: synthetic ones, or those of a data set, one batch ahead of the model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmark_core.exits import UsageError
from pytorch_benchmarks.data.dataset import Consumer, Crop, Dataset, Order, Uniform
from pytorch_benchmarks.data.images import MAX_PIXELS
from pytorch_benchmarks.data.loader import Batches, processes, threads
from pytorch_benchmarks.data.transforms import Normalise
from pytorch_benchmarks.devices import World, copies_page_locked, map_tensors
from pytorch_benchmarks.options import BenchmarkOptions, CommonOptions


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
        from pytorch_benchmarks.data.images import ImageFolder

        return ImageFolder(directory, max_pixels)
    from pytorch_benchmarks.data.caffe import CaffeLmdb

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


def once(
    dataset: Dataset,
    batch_size: int,
    crop: Crop,
    shape: tuple[int, ...],
    normalise: Normalise,
    *,
    workers: int,
    world: World,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches that contain each image of a data set once, in one of the processes. The last batch is shorter, or missing.

    Processes share the images evenly; some have one more than others.

    Args:
        dataset: Images.
        batch_size: Images in a batch.
        crop: Crop of each image.
        shape: (channels, height, width) of the images.
        normalise: Converts to inputs and targets.
        workers: Threads that read and decode images.
        world: Rank of this process, and number of processes.
    """
    mine = range(world.rank, len(dataset), world.size)
    full = len(mine) // batch_size * batch_size
    for part, size in ((mine[:full], batch_size), (mine[full:], len(mine) - full)):
        if not part:
            continue
        batches = loaded(_Part(dataset, part), Order(len(part), size), crop, shape, normalise, workers=workers)
        yield from itertools.islice(batches, len(part) // size)


def synthetic_batches(
    model: Consumer,
    batch_size: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    layout: torch.memory_format = torch.contiguous_format,
    memory: str = "device",
) -> Iterator[tuple[Any, Any]]:
    """Infinite repetition of one batch of random inputs and targets on the device.

    Args:
        model: Determines shapes and types of inputs and targets.
        batch_size: Instances.
        device: Device of the batches.
        dtype: Type of the inputs, if they are floating-point.
        seed: The same seed gives the same batch on every device.
        layout: Memory layout of images; ignored for other inputs.
        memory: Where the batch is stored: `device`; or `pageable` or `pinned` memory of the host, from which it is copied to the device
            for every batch, while the previous one is processed.
    """
    generator = torch.Generator().manual_seed(seed)

    def prepared(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
        return tensor.to(memory_format=layout) if tensor.dim() == 4 else tensor

    inputs = map_tensors(prepared, model.inputs(batch_size, generator))
    batch = (inputs, model.targets(batch_size, generator))
    if memory == "device" or device.type == "cpu":
        return itertools.repeat(map_tensors(lambda tensor: tensor.to(device), batch))
    if memory == "pinned":
        batch = map_tensors(Tensor.pin_memory, batch)
    return ahead(
        itertools.repeat(batch), lambda made: map_tensors(lambda x: x.to(device, non_blocking=True), made), device
    )


def ahead(
    batches: Iterator[Any], prepare: Callable[[Any], tuple[Any, Any]], device: torch.device
) -> Iterator[tuple[Any, Any]]:
    """Prepare batches on the device, in a separate stream while the model works on the previous batch.

    Args:
        batches: In host memory; each may be overwritten when the next one is requested.
        prepare: Converts a batch in host memory to one on the device, without waiting.
        device: Device that `prepare` copies to. Devices without streams prepare a batch on request.
    """
    module = torch.get_device_module(device)
    if not hasattr(module, "Stream"):
        yield from map(prepare, batches)
        return
    stream = module.Stream(device)
    made: tuple[Any, Any] | None = None
    copied: Any = None
    while True:
        if copied is not None:
            copied.synchronize()  # before the loader may reuse the batch's memory
        batch = next(batches)
        with module.stream(stream):
            following = prepare(batch)
            copied = stream.record_event()
        if made is not None:
            yield made
        current = module.current_stream(device)
        current.wait_event(copied)

        def used_by(tensor: Tensor, by: Any = current) -> None:
            tensor.record_stream(by)

        map_tensors(used_by, following)
        made = following


def on_gpu(batches: Batches, normalise: Normalise) -> Iterator[tuple[Tensor, Tensor]]:
    """Copy batches to the GPU as bytes and normalise them there, which copies a quarter of the data."""
    device = normalise.device
    aside = copies_page_locked(device)  # otherwise a copy has to end before the loader reuses the memory

    def prepare(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return normalise(images.to(device, non_blocking=aside), labels.to(device, non_blocking=aside))

    return ahead(batches, prepare, device)


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


class _Part(Dataset):
    """A subset of a data set, renumbered from 0."""

    def __init__(self, whole: Dataset, part: range) -> None:
        self.whole, self.part, self.channels_last = whole, part, whole.channels_last

    def __len__(self) -> int:
        return len(self.part)

    @property
    def num_classes(self) -> int:
        return self.whole.num_classes

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        return self.whole.read_into(self.part[index], target, crop, uniform)
