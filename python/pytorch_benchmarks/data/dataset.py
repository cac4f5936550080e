"""The interface of data sets, crops of images, the order of reading, and the part of a model that loaders know."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmark_core.exits import UsageError

Uniform = Callable[[], float]  # returns random numbers, uniform in [0, 1)
_TRIES = 10
MOST_DRAWS = 2 * _TRIES + 3  # most random numbers that a box takes


class Box(NamedTuple):
    """A part of an image, in pixels, and whether it is mirrored left to right."""

    top: int
    left: int
    height: int
    width: int
    mirror: bool


@dataclass(frozen=True, slots=True)
class Crop:
    """A rule that picks a box of an image and its target size.

    - `random_resized`: a box of 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3, resized, mirrored half of the time
      (Szegedy et al., arXiv:1409.4842, section 6). Usual for training image classifiers.
    - `random_crop_mirror`: a box of the input's size at a random place, mirrored half of the time (Krizhevsky et al., NIPS
      2012). For data sets whose images are stored at a fixed size, as Caffe's are. Smaller images are resized first.
    - `center`: the shorter side is resized to 1 / `crop_pct` of the input's, then the centre is cropped. For inference.

    Attributes:
        crop_pct: Share of the shorter side that `center` keeps: 224 of 256 pixels by default.
    """

    kind: str
    crop_pct: float = 0.875

    def box(self, height: int, width: int, size: tuple[int, int], uniform: Uniform) -> Box:
        """Select the box of an image of `height` × `width` for an input of `size` (height, width)."""
        if self.kind == "random_resized":
            return _random_resized(height, width, uniform)
        target_height, target_width = size
        if self.kind == "random_crop_mirror":
            if height < target_height or width < target_width:
                return Box(0, 0, height, width, uniform() < 0.5)
            top = int(uniform() * (height - target_height + 1))
            left = int(uniform() * (width - target_width + 1))
            return Box(top, left, target_height, target_width, uniform() < 0.5)
        # Cropping before resizing gives the same image as the other order, for less work.
        scale = min(height / target_height, width / target_width) * self.crop_pct
        box_height, box_width = max(1, round(target_height * scale)), max(1, round(target_width * scale))
        return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width, False)


def _random_resized(height: int, width: int, uniform: Uniform) -> Box:
    mirror = uniform() < 0.5
    for _ in range(_TRIES):
        area = height * width * (0.08 + 0.92 * uniform())
        ratio = math.exp(math.log(4 / 3) * (2 * uniform() - 1))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(uniform() * (height - box_height + 1))
            left = int(uniform() * (width - box_width + 1))
            return Box(top, left, box_height, box_width, mirror)
    side = min(height, width)  # all tries failed: an extreme aspect ratio
    return Box((height - side) // 2, (width - side) // 2, side, side, mirror)


def place(image: np.ndarray, box: Box, target: Tensor) -> None:
    """Crop an image, resize the crop if needed, and write it into `target`.

    Args:
        image: uint8, shape (channels, height, width), any strides.
        box: Lies inside the image.
        target: uint8, shape (channels, target height, target width), any strides.
    """
    top, left, height, width, mirror = box
    part = torch.from_numpy(image[:, top : top + height, left : left + width])
    _, target_height, target_width = target.shape
    if height != target_height or width != target_width:
        part = resize(part, target_height, target_width)
    # torch mirrors with vector instructions: 3x224x224 takes 6 microseconds (numpy: 38), channels-last 13
    # (numpy: 175).
    target.copy_(part.flip(-1) if mirror else part)


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize (channels, height, width) uint8 with antialiasing by torch's bilinear filter, 2.3 times as fast as Pillow."""
    batch = image[None]
    if image.stride(0) == 1:
        # Channels-last, but a view of a larger image: torch recognises that layout only if rows are contiguous.
        # Copying takes 6 microseconds and saves 115: resizing is faster, and the result need not be transposed back.
        batch = batch.contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.interpolate(batch, (height, width), mode="bilinear", antialias=True)[0]


class Dataset(ABC):
    """Labelled images, readable in any order from several threads at a time.

    Attributes:
        channels_last: Whether images are stored with the colours of a pixel adjacent. Batches get the same layout, so that pixels
            are copied in long runs.
    """

    channels_last: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        """Read, decode and crop one image, and return its label.

        Args:
            index: 0 … len(self) - 1.
            target: Receives the image: uint8, shape (channels, height, width), any strides.
            crop: Selects the part of the image, and whether it is mirrored.
            uniform: Random numbers for random crops.

        Raises:
            BenchmarkError: The image cannot be read; the message names it.
        """

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """One more than the largest label."""

    def describe(self) -> dict[str, object]:
        """Facts for the log."""
        return {"data_instances": len(self), "data_classes": self.num_classes}


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which images are read, epoch after epoch.

    Each of `world` processes reads every `world`-th image of an epoch, none of them twice; images that do not fill a batch in every
    process are left out.

    Attributes:
        length: Images in the data set.
        batch_size: Images in one batch of one process.
        shuffle: Whether each epoch has a new random order.
        seed: Seed of the random orders; the same in all processes.
        rank, world: Rank of this process, and number of processes.
        first_epoch: First epoch: batches and random numbers are those of a run that has reached it.
    """

    length: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    rank: int = 0
    world: int = 1
    first_epoch: int = 0

    def __post_init__(self) -> None:
        if self.batches_per_epoch == 0:
            images = f"{self.length} images" + (f" for {self.world} processes" if self.world > 1 else "")
            raise UsageError(f"the data set has {images}, fewer than a batch of {self.batch_size}")

    @property
    def batches_per_epoch(self) -> int:
        return self.length // (self.world * self.batch_size)

    def epoch(self, number: int) -> np.ndarray:
        """Images of this process in an epoch, int64, shape (batches_per_epoch, batch_size)."""
        if self.shuffle:
            order = np.random.default_rng((abs(self.seed), number)).permutation(self.length)
        else:
            order = np.arange(self.length)
        used = self.batches_per_epoch * self.batch_size
        return order[self.rank :: self.world][:used].reshape(-1, self.batch_size)

    def batches(self) -> Iterator[list[int]]:
        """Yield the image numbers of each batch, without end."""
        for number in itertools.count(self.first_epoch):
            for indices in self.epoch(number):
                yield indices.tolist()

    def draws(self, number: int) -> list[list[float]]:
        """Random numbers for each image of batch `number`, so that augmentation does not depend on which worker handles an image.

        Drawn for a whole batch, they cost a tenth of one generator per image.
        """
        number += self.first_epoch * self.batches_per_epoch
        generator = np.random.default_rng((abs(self.seed), self.rank, number, 1))
        return generator.random((self.batch_size, MOST_DRAWS)).tolist()


class Consumer(Protocol):
    """A model as data loading sees it; `models.model.Model` documents the attributes."""

    title: str
    input_shape: tuple[int, ...]
    unit: str
    num_classes: int

    def inputs(self, batch_size: int, generator: torch.Generator) -> Any: ...

    def targets(self, batch_size: int, generator: torch.Generator) -> Any: ...
