"""What every data set offers the loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, Uniform

__all__ = ["Dataset"]


class Dataset(ABC):
    """Labelled images that can be read in any order, from several threads at a time.

    Attributes:
        channels_last: Whether the colours of a pixel lie beside each other where images come from. Batches are laid out the same
            way, so that pixels are copied in long runs.
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
            target: Where the image goes: uint8, shape (channels, height, width), any strides.
            crop: Which part of the image, and whether mirrored.
            uniform: Random numbers for crops that are random.

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
