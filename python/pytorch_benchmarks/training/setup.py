"""What stays the same while a model is trained: options, pictures, precision, device, processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytorch_benchmarks.data.crops import Crop
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.once import once
from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.data.prefetch import Normalise
from pytorch_benchmarks.data.source import crop_kind, loaded, loader_kind, memory_layout, open_dataset, picture_shape
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.distributed import World
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.weights import find_weights
from pytorch_benchmarks.options.training import TrainingOptions
from pytorch_benchmarks.phases.workload import requested_model
from pytorch_benchmarks.precision import Precision

__all__ = ["Pictures", "Setup", "classifier", "open_pictures", "transforms_for"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Data sets for training and for validation. `train` is None if nothing is trained."""

    train: Dataset | None
    val: Dataset

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the classes by number; empty if they have none."""
        return tuple(getattr(self.val, "classes", ()))


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same.

    Attributes:
        options: What was asked for.
        pictures: Data sets.
        transforms: What pictures go through.
        precision, device: How and where it is computed.
        world: This process, and how many there are.
    """

    options: TrainingOptions
    pictures: Pictures
    transforms: Transforms
    precision: Precision
    device: torch.device
    world: World

    def training_order(self, first_epoch: int) -> Order:
        """Which picture is trained on when: in a new random order in every epoch, which is the same wherever training began."""
        options, world = self.options, self.world
        length = len(self.pictures.train or ())
        return Order(length, options.batch_size, True, options.seed, world.rank, world.size, first_epoch)

    def training_batches(self, order: Order) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of this process, for ever; what fills no batch is left out of its epoch."""
        options, train = self.options, self.pictures.train
        assert train is not None
        crop = Crop(crop_kind(options, evaluate=False), self.transforms.crop_pct)
        shape, normalise = self.transforms.shape, self._normalise()
        workers, kind = options.num_loader_threads, loader_kind(options, self.device)
        return loaded(train, order, crop, shape, normalise, workers=workers, kind=kind)

    def validation_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of all validation pictures, each of them once, in one of the processes."""
        crop, shape, workers = self.transforms.crop(), self.transforms.shape, self.options.num_loader_threads
        return once(self.pictures.val, batch_size, crop, shape, self._normalise(), workers=workers, world=self.world)

    def _normalise(self) -> Normalise:
        return self.transforms.normalise(self.precision.weights, self.device, memory_layout(self.options.channels_last))


def open_pictures(options: TrainingOptions) -> Pictures:
    """Open the data sets that the options name.

    Raises:
        UsageError: One is missing, or their classes differ.
    """
    train, val = options.data_dir, options.val_dir
    if train and not val:
        train, val = (os.path.join(options.data_dir, part) for part in ("train", "val"))
        for place in (val,) if options.test_only else (train, val):
            if not os.path.isdir(place):
                raise UsageError(
                    f"--data_dir {options.data_dir}: there is no {place}; it must hold train and val, or name --val_dir"
                )
    if options.test_only:
        return Pictures(None, open_dataset(val, options.data_backend, options.max_image_pixels))
    pictures = Pictures(
        *(open_dataset(place, options.data_backend, options.max_image_pixels) for place in (train, val))
    )
    differing = sorted(set(getattr(pictures.train, "classes", ())) ^ set(pictures.categories))
    if differing:
        raise UsageError(f"classes of {train} and {val} differ: {differing[0]!r} is in one of them only")
    return pictures


def classifier(options: TrainingOptions, pictures: Pictures) -> Model:
    """The model that the options name, with as many classes as the pictures have unless the options say something else.

    Raises:
        UsageError: There is none, or it is no classifier of pictures, or has too few classes.
    """
    classes = pictures.val.num_classes
    usual = requested_model(replace(options, weights=""))
    _check_kind(usual)
    differs = classes and classes != usual.num_classes and "num_classes" not in options.model_opts
    torch.manual_seed(options.seed)
    model = requested_model(options, **({"num_classes": classes} if differs else {}))
    if classes > model.num_classes:
        raise UsageError(
            f"{model.title} has {model.num_classes} classes, the data set {classes}: "
            """give --model_opts '{"num_classes": N}', or the option that the model has for it"""
        )
    return model


def _check_kind(model: Model) -> None:
    picture_shape(model)
    if model.targets(1, torch.Generator()).shape != (1,):
        raise UsageError(f"{model.title} is no classifier: train.py trains models that tell the class of an image")


def transforms_for(model: Model, options: TrainingOptions) -> Transforms:
    """What pictures go through on their way to a model: as the entry of its weights says, if there is one, unless options say something else."""
    made = Transforms(picture_shape(model), len(model.input_shape) == 1)
    entry = find_weights(options.weights, options.model) if options.weights else None
    if entry is not None and entry.transforms is not None and entry.transforms.shape == made.shape:
        made = entry.transforms
    return made if options.crop_pct is None else replace(made, crop_pct=options.crop_pct)
