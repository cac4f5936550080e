"""Inference: forward, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["inference_step"]


def inference_step(network: nn.Module) -> Callable[[Any], Any]:
    """A function that runs a network on the inputs of one batch and returns its output."""
    network.eval()

    @torch.inference_mode()
    def step(batch: Any) -> Any:
        return network(batch[0])

    return step
