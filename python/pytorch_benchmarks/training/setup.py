"""The constant parts of a training: options, data sets, precision, device, processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark_core.exits import BenchmarkError, UsageError
from pytorch_benchmarks.data.dataset import Crop, Dataset, Order, Uniform
from pytorch_benchmarks.data.source import (
    crop_kind,
    loaded,
    loader_kind,
    memory_layout,
    once,
    open_dataset,
    picture_shape,
)
from pytorch_benchmarks.data.transforms import Normalise, Transforms
from pytorch_benchmarks.devices import Precision, World
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.training.options import TrainingOptions
from pytorch_benchmarks.weights import find_weights
from pytorch_benchmarks.workload import requested_model

_MORE_CLASSES = """set --model_opts '{"num_classes": N}', or the corresponding option of the model"""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Data sets for training and for validation. `train` is None without training."""

    train: Dataset | None
    val: Dataset

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the classes by number; empty if they have no names."""
        return tuple(getattr(self.val, "classes", ()))


@dataclass(frozen=True, slots=True)
class Setup:
    """The constant parts of a training.

    Attributes:
        options: Options of the training.
        `pictures`: Data sets of images.
        transforms: Preprocessing of images.
        num_classes: Of the model.
        precision, device: Precision and device of the computation.
        world: Rank of this process, and number of processes.
    """

    options: TrainingOptions
    pictures: Pictures
    transforms: Transforms
    num_classes: int
    precision: Precision
    device: torch.device
    world: World

    def training_order(self, first_epoch: int) -> Order:
        """The order of training images: random in every epoch, and independent of the epoch at which training started."""
        options, world = self.options, self.world
        length = len(self.pictures.train or ())
        return Order(length, options.batch_size, True, options.seed, world.rank, world.size, first_epoch)

    def training_batches(self, order: Order) -> Iterator[tuple[Tensor, Tensor]]:
        """Infinite batches of this process; incomplete batches at the end of an epoch are left out."""
        options = self.options
        assert self.pictures.train is not None
        train = _within(self.pictures.train, self.num_classes)
        crop = Crop(crop_kind(options, evaluate=False), self.transforms.crop_pct)
        shape, normalise = self.transforms.shape, self._normalise()
        workers, kind = options.num_loader_threads, loader_kind(options, self.device)
        return loaded(train, order, crop, shape, normalise, workers=workers, kind=kind)

    def validation_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of all validation images, each once, in one of the processes."""
        crop, shape, workers = self.transforms.crop(), self.transforms.shape, self.options.num_loader_threads
        val = _within(self.pictures.val, self.num_classes)
        return once(val, batch_size, crop, shape, self._normalise(), workers=workers, world=self.world)

    def _normalise(self) -> Normalise:
        return self.transforms.normalise(self.precision.weights, self.device, memory_layout(self.options.channels_last))


class _Within(Dataset):
    """A data set whose labels are checked as they are read, on the host: a device would fail without naming the reason."""

    def __init__(self, whole: Dataset, num_classes: int) -> None:
        self.whole, self.classes, self.channels_last = whole, num_classes, whole.channels_last

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def num_classes(self) -> int:
        return self.whole.num_classes

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        label = self.whole.read_into(index, target, crop, uniform)
        if not 0 <= label < self.classes:
            raise BenchmarkError(
                f"image {index} of {getattr(self.whole, 'directory', 'the data set')} has label {label}, but the model has {self.classes} classes, "
                f"0 to {self.classes - 1}: {_MORE_CLASSES}"
            )
        return label


def _within(dataset: Dataset, num_classes: int) -> Dataset:
    """The data set, with labels checked unless their number is known, which `classifier` has compared."""
    return dataset if dataset.num_classes else _Within(dataset, num_classes)


def open_pictures(options: TrainingOptions) -> Pictures:
    """Open the requested data sets.

    Raises:
        UsageError: One is missing, or their classes differ.
    """
    train, val = options.data_dir, options.val_dir
    if train and not val:
        train, val = (os.path.join(options.data_dir, part) for part in ("train", "val"))
        for place in (val,) if options.test_only else (train, val):
            if not os.path.isdir(place):
                raise UsageError(
                    f"--data_dir {options.data_dir}: {place} does not exist; the directory must contain train and val, or set --val_dir"
                )
    if options.test_only:
        return Pictures(None, open_dataset(val, options.data_backend, options.max_image_pixels))
    pictures = Pictures(
        *(open_dataset(place, options.data_backend, options.max_image_pixels) for place in (train, val))
    )
    differing = sorted(set(getattr(pictures.train, "classes", ())) ^ set(pictures.categories))
    if differing:
        raise UsageError(f"classes of {train} and {val} differ: {differing[0]!r} is only in one of them")
    return pictures


def classifier(options: TrainingOptions, pictures: Pictures) -> Model:
    """The requested model, with the number of classes of the data set unless the options specify it.

    Raises:
        UsageError: The model is unknown, is no image classifier, or has too few classes.
    """
    classes = pictures.val.num_classes
    usual = requested_model(replace(options, weights=""))
    _check_kind(usual)
    differs = classes and classes != usual.num_classes and "num_classes" not in options.model_opts
    torch.manual_seed(options.seed)
    model = requested_model(options, **({"num_classes": classes} if differs else {}))
    if classes > model.num_classes:
        raise UsageError(f"{model.title} has {model.num_classes} classes, the data set {classes}: {_MORE_CLASSES}")
    return model


def _check_kind(model: Model) -> None:
    picture_shape(model)
    if model.targets(1, torch.Generator()).shape != (1,):
        raise UsageError(f"{model.title} is not a classifier: train.py trains image classifiers")


def transforms_for(model: Model, options: TrainingOptions) -> Transforms:
    """Preprocessing of a model's images: that of the entry of its weights, if there is one, unless options override it."""
    made = Transforms(picture_shape(model), len(model.input_shape) == 1)
    entry = find_weights(options.weights, options.model) if options.weights else None
    if entry is not None and entry.transforms is not None and entry.transforms.shape == made.shape:
        made = entry.transforms
    return made if options.crop_pct is None else replace(made, crop_pct=options.crop_pct)
