"""Synthetic data: one batch that is reused, so that input costs nothing or only the copy to the device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.data.consumer import Consumer
from pytorch_benchmarks.data.prefetch import ahead
from pytorch_benchmarks.tensors import map_tensors

__all__ = ["synthetic_batches"]


def synthetic_batches(
    model: Consumer,
    batch_size: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    layout: torch.memory_format = torch.contiguous_format,
    memory: str = "device",
) -> Iterator[tuple[Any, Any]]:
    """Infinite repetition of one batch of random inputs and targets on the device.

    Args:
        model: Determines shapes and types of inputs and targets.
        batch_size: Instances.
        device: Device of the batches.
        dtype: Type of the inputs, if they are floating-point.
        seed: The same seed gives the same batch on every device.
        layout: Memory layout of images; ignored for other inputs.
        memory: Where the batch is stored: `device`; or `pageable` or `pinned` memory of the host, from which it is copied to the device
            for every batch, while the previous one is processed.
    """
    generator = torch.Generator().manual_seed(seed)

    def prepared(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
        return tensor.to(memory_format=layout) if tensor.dim() == 4 else tensor

    inputs = map_tensors(prepared, model.inputs(batch_size, generator))
    batch = (inputs, model.targets(batch_size, generator))
    if memory == "device" or device.type == "cpu":
        return itertools.repeat(map_tensors(lambda tensor: tensor.to(device), batch))
    if memory == "pinned":
        batch = map_tensors(Tensor.pin_memory, batch)
    return ahead(
        itertools.repeat(batch), lambda made: map_tensors(lambda x: x.to(device, non_blocking=True), made), device
    )
