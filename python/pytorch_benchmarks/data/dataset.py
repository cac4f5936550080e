"""The interface of data sets that loaders use."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, Uniform

__all__ = ["Dataset"]


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
