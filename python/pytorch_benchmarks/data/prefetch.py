"""From uint8 batches in host memory to normalised batches on the device, one batch ahead of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.data.loader import Batches
from pytorch_benchmarks.devices import copies_page_locked
from pytorch_benchmarks.tensors import map_tensors

__all__ = ["DEVIATION", "MEAN", "Normalise", "ahead", "on_gpu"]

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


def on_gpu(batches: Batches, normalise: Normalise) -> Iterator[tuple[Tensor, Tensor]]:
    """Copy batches to the GPU as bytes and normalise them there, which copies a quarter of the data."""
    device = normalise.device
    aside = copies_page_locked(device)  # otherwise a copy has to end before the loader reuses the memory

    def prepare(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return normalise(images.to(device, non_blocking=aside), labels.to(device, non_blocking=aside))

    return ahead(batches, prepare, device)


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
