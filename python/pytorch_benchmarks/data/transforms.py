"""Preprocessing from an image to a model's input: size, crop, mean and standard deviation. Weights include the one of their evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark_core.exits import BenchmarkError
from pytorch_benchmarks.data.dataset import Crop, place

# Mean and standard deviation of ImageNet's training images, red, green, blue, for values from 0 to 1.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class Normalise:
    """Convert bytes and labels to inputs and targets: (x / 255 - mean) / standard deviation, computed as x × scale + shift.

    Args:
        dtype: Of the inputs.
        flat: Whether the model's inputs are vectors.
        num_classes: Labels are mapped into the range of the model's outputs, so that any data set fits any model; 0 keeps them.
        channels: Colours of the images.
        device: Where it is computed.
        layout: Memory layout of the inputs.
        mean, `deviation`: Mean and standard deviation of red, green and blue, values from 0 to 1; other numbers of channels use their averages.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        flat: bool,
        num_classes: int,
        channels: int,
        device: torch.device,
        layout: torch.memory_format = torch.contiguous_format,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
    ) -> None:
        self.dtype, self.flat, self.num_classes = dtype, flat, num_classes
        self.channels, self.device, self.layout = channels, device, layout
        means, deviations = torch.tensor(mean), torch.tensor(deviation)
        if channels != 3:
            means, deviations = means.mean().expand(channels), deviations.mean().expand(channels)
        self.scale = (1 / (255 * deviations)).view(channels, 1, 1).to(device)
        self.shift = (-means / deviations).view(channels, 1, 1).to(device)

    def empty(self, batch_size: int, height: int, width: int) -> Tensor:
        """Allocate the inputs of one batch."""
        shape = (batch_size, self.channels, height, width)
        return torch.empty(shape, dtype=self.dtype, device=self.device, memory_format=self.layout)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one batch; images and labels are on the device."""
        inputs = self.empty(images.shape[0], images.shape[2], images.shape[3])
        self.image(images, inputs)
        return self.batch(inputs, labels)

    def image(self, pixels: Tensor, into: Tensor) -> None:
        """Convert bytes to inputs: (channels, height, width), or a batch of such images."""
        if self.dtype == torch.float32:
            into.copy_(pixels).mul_(self.scale).add_(self.shift)
        else:  # the precision of 8 bits is too low for normalising
            into.copy_(pixels.float().mul_(self.scale).add_(self.shift))

    def batch(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a complete batch."""
        return inputs.flatten(1) if self.flat else inputs, labels % self.num_classes if self.num_classes else labels


@dataclass(frozen=True, slots=True)
class Transforms:
    """Preprocessing of an image of any size: centre crop, resize, normalise.

    Identical to the preprocessing that loaders apply to data sets.

    Attributes:
        shape: (channels, height, width) of the model's input images.
        flat: Whether the model takes them as vectors.
        crop_pct: Share of the shorter side that is kept.
        mean, `deviation`: Mean and standard deviation of values from 0 to 1, for red, green and blue.
    """

    shape: tuple[int, int, int]
    flat: bool = False
    crop_pct: float = 0.875
    mean: tuple[float, float, float] = MEAN
    deviation: tuple[float, float, float] = DEVIATION

    def __call__(self, image: np.ndarray | str | os.PathLike[str]) -> Tensor:
        """The model's input: float32, shape (channels, height, width), or (channels × height × width,) if it takes vectors.

        Args:
            image: uint8, shape (height, width, 3); or the path of an image.

        Raises:
            BenchmarkError: The file cannot be read.
        """
        pixels = image if isinstance(image, np.ndarray) else _read(image)
        if not pixels.flags.writeable:
            pixels = pixels.copy()  # torch warns about read-only memory
        channels, height, width = self.shape
        if channels == 1 and pixels.shape[2] == 3:
            pixels = pixels.mean(axis=2, keepdims=True).astype(np.uint8)
        box = self.crop().box(pixels.shape[0], pixels.shape[1], (height, width), float)
        target = torch.empty(self.shape, dtype=torch.uint8)
        place(pixels.transpose(2, 0, 1), box, target)
        made, _ = self.normalise(torch.float32, torch.device("cpu"))(target[None], torch.zeros(1, dtype=torch.int64))
        return made[0]

    def crop(self) -> Crop:
        """The crop of evaluation."""
        return Crop("center", self.crop_pct)

    def normalise(
        self,
        dtype: torch.dtype,
        device: torch.device,
        layout: torch.memory_format = torch.contiguous_format,
        num_classes: int = 0,
    ) -> Normalise:
        """The last step, for batches: conversion and normalisation."""
        return Normalise(dtype, self.flat, num_classes, self.shape[0], device, layout, self.mean, self.deviation)

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Transforms:
        """From a JSON object.

        Raises:
            TypeError, ValueError: The object is not a transform.
        """
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        made = cls(**values)
        numbers = (*made.shape, made.crop_pct, *made.mean, *made.deviation)
        if len(made.shape) != 3 or not all(isinstance(number, (int, float)) for number in numbers):
            raise ValueError(f"shape, mean and `deviation` must be three numbers each, not {document}")
        if min(made.shape) < 1 or not 0 < made.crop_pct <= 1 or min(made.deviation) <= 0:
            raise ValueError("shape and `deviation` must be positive, and crop_pct above 0 and at most 1")
        return made


def _read(path: str | os.PathLike[str]) -> np.ndarray:
    from pytorch_benchmarks.data.images import decode_image, read_image

    try:
        return decode_image(read_image(path))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"cannot read the image {path}: {error}") from None
