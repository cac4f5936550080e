"""Synthetic data: one batch, made once and used again, so that input costs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from pytorch_benchmarks.models.model import Model

__all__ = ["synthetic_batches"]


def synthetic_batches(
    model: Model,
    batch_size: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    layout: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batch of random inputs and targets, for ever, in the memory of the device.

    Args:
        model: Tells shapes and kinds of inputs and targets.
        batch_size: Instances.
        device: Where the batch lies.
        dtype: Type of the inputs, if they are floating-point numbers.
        seed: The same seed gives the same batch on every device.
        layout: How images lie in memory; other inputs have no choice.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = model.inputs(batch_size, generator)
    targets = model.targets(batch_size, generator)
    if inputs.is_floating_point():
        inputs = inputs.to(dtype)
    if inputs.dim() == 4:
        inputs = inputs.to(memory_format=layout)
    return itertools.repeat((inputs.to(device), targets.to(device)))
