"""Memory of the batches that are being filled and used, allocated once."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["AHEAD", "Finish", "Place", "Ring"]

AHEAD = 3  # batches being filled while one is in use


class Finish(Protocol):
    """Converts bytes and labels to the model's inputs and targets."""

    def empty(self, batch_size: int, height: int, width: int) -> Tensor:
        """Allocate the inputs of one batch."""

    def image(self, pixels: Tensor, into: Tensor) -> None:
        """Write the input of one image, uint8, shape (channels, height, width)."""

    def batch(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a complete batch."""


class Place:
    """Memory of one batch.

    Args:
        batch: Bytes of the images; with `finish`, the model's inputs.
        labels: int64, one for each slot.
        finish: Converts bytes to the model's inputs.

    Attributes:
        slots: For each slot, the place of its bytes or its input.
        labels: The labels as an array.
    """

    def __init__(self, batch: Tensor, labels: Tensor, finish: Finish | None = None) -> None:
        self._batch, self._labels, self.finish = batch, labels, finish
        # The views are created once: creating one costs as much as copying a third of an image.
        self.slots = list(batch)
        self.labels = labels.numpy()

    def __reduce__(self) -> tuple[type[Place], tuple[Tensor, Tensor, Finish | None]]:
        """Processes that do not fork get the tensors, whose memory torch shares; an array would be copied."""
        return Place, (self._batch, self._labels, self.finish)

    def result(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets, when all slots are filled."""
        return (self._batch, self._labels) if self.finish is None else self.finish.batch(self._batch, self._labels)


class Ring:
    """Places that are reused in turn.

    Args:
        batch_size: Images in one batch.
        shape: (channels, height, width) of the model's input.
        layout: Memory layout of the images; bytes are stored in it.
        pinned: Allocate page-locked memory, from which a GPU copies asynchronously.
        finish: Converts each image to the model's input as soon as it is read, while its bytes are in the cache. On a CPU that is also
            better than converting in the caller, whose OpenMP threads would keep spinning for a while on the cores that the
            workers need.
    """

    def __init__(
        self, batch_size: int, shape: tuple[int, ...], layout: torch.memory_format, pinned: bool, finish: Finish | None
    ) -> None:
        self.shape, self.layout = shape, layout

        def place() -> Place:
            labels = torch.empty(batch_size, dtype=torch.int64, pin_memory=pinned)
            if finish is not None:
                return Place(finish.empty(batch_size, shape[1], shape[2]), labels, finish)
            whole = (batch_size, *shape)
            return Place(torch.empty(whole, dtype=torch.uint8, memory_format=layout, pin_memory=pinned), labels)

        self.places = [place() for _ in range(AHEAD + 2)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Place:
        """The place of batch `number`."""
        return self.places[number % len(self.places)]

    def scratch(self) -> Tensor:
        """Allocate the bytes of one image, for places that do not store them."""
        return torch.empty((1, *self.shape), dtype=torch.uint8, memory_format=self.layout)[0]
