"""Preprocessing from an image to a model's input: size, crop, mean and standard deviation. Weights include the one of their evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, place
from pytorch_benchmarks.data.prefetch import DEVIATION, MEAN, Normalise
from pytorch_benchmarks.errors import BenchmarkError

__all__ = ["Transforms"]


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
    from pytorch_benchmarks.data.decode import decode_image, read_image

    try:
        return decode_image(read_image(path))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"cannot read the image {path}: {error}") from None
