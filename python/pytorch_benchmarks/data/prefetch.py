"""From uint8 batches in host memory to normalised batches on the device, a batch ahead of the model."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pytorch_benchmarks.data.loader import Batches

__all__ = ["Normalise", "on_gpu"]

# Mean and deviation of ImageNet's training images, red, green, blue, of values from 0 to 1.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class Normalise:
    """Makes inputs and targets of bytes and labels: (x / 255 - mean) / deviation, written as x × scale + shift.

    Args:
        dtype: Of the inputs.
        flat: Whether the model wants images as vectors.
        num_classes: Labels are brought into the range of the model's outputs, so that any data set fits any model.
        channels: Colours of the images.
        device: Where it happens.
        layout: How the pixels of the inputs lie in memory.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        flat: bool,
        num_classes: int,
        channels: int,
        device: torch.device,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.dtype, self.flat, self.num_classes = dtype, flat, num_classes
        self.channels, self.device, self.layout = channels, device, layout
        mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
        if channels != 3:
            mean, deviation = mean.mean().expand(channels), deviation.mean().expand(channels)
        self.scale = (1 / (255 * deviation)).view(1, channels, 1, 1).to(device)
        self.shift = (-mean / deviation).view(1, channels, 1, 1).to(device)

    def empty(self, batch_size: int, height: int, width: int) -> Tensor:
        """Memory for the inputs of one batch."""
        shape = (batch_size, self.channels, height, width)
        return torch.empty(shape, dtype=self.dtype, device=self.device, memory_format=self.layout)

    def __call__(self, images: Tensor, labels: Tensor, into: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one batch; `into` is memory for the inputs."""
        if into is None:
            into = self.empty(images.shape[0], images.shape[2], images.shape[3])
        if self.dtype == torch.float32:
            into.copy_(images).mul_(self.scale).add_(self.shift)
        else:  # eight bits of precision are too few to normalise with
            into.copy_(images.float().mul_(self.scale).add_(self.shift))
        return into.flatten(1) if self.flat else into, labels % self.num_classes


def on_gpu(batches: Batches, normalise: Normalise) -> Iterator[tuple[Tensor, Tensor]]:
    """Copy batches to the GPU as bytes and normalise them there: a quarter of the copying.

    It happens in a stream of its own, while the model works on the batch before.
    """
    device = normalise.device
    stream = torch.cuda.Stream(device)
    ahead: tuple[Tensor, Tensor] | None = None
    copied: torch.cuda.Event | None = None
    while True:
        if copied is not None:
            copied.synchronize()  # before the loader may use the batch's memory again
        images, labels = next(batches)
        with torch.cuda.stream(stream):
            made = normalise(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            copied = stream.record_event()
        if ahead is not None:
            yield ahead
        current = torch.cuda.current_stream(device)
        current.wait_event(copied)
        for tensor in made:
            tensor.record_stream(current)
        ahead = made
