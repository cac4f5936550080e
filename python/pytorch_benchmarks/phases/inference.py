"""Inference: a forward pass without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pytorch_benchmarks.precision import Precision

__all__ = ["inference_step"]


def inference_step(network: nn.Module, precision: Precision | None = None) -> Callable[[Any], Any]:
    """Return a function that runs a network on the inputs of one batch and returns its output.

    Args:
        network: The network to call.
        precision: Adds autocast if it specifies one; None computes in the type of the weights.
    """
    network.eval()
    context = precision.context if precision else None

    @torch.inference_mode()
    def step(batch: Any) -> Any:
        return network(batch[0])

    if context is None:
        return step

    @torch.inference_mode()
    def cast_step(batch: Any) -> Any:
        with context():
            return network(batch[0])

    return cast_step
