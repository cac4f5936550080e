"""Training: forward, loss, backward, weight update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.precision import Precision

__all__ = ["LEARNING_RATE", "training_step"]

# Small, because a benchmark repeats one batch for as long as it likes: with 0.01, AlexNet at batch 2 ends in NaN after 100 steps.
LEARNING_RATE = 0.001


def training_step(model: Model, network: nn.Module, precision: Precision | None = None) -> Callable[[Any], Tensor]:
    """A function that trains on one batch `(inputs, targets)` and returns the loss, still on the device.

    Stochastic gradient descent with momentum: the optimiser that image classification is benchmarked with. Its fused form is
    one kernel instead of one per tensor, 1.2 to 1.5 times as fast a step on CPUs.

    Args:
        model: Knows its loss and has the weights.
        network: What is called: the model itself, or a wrapper such as DistributedDataParallel.
        precision: With autocast, and scaled gradients for float16, if that is asked for; None computes in the type of the weights.
    """
    network.train()
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.9, fused=_can_fuse(parameters))
    context = (precision.context if precision else None) or nullcontext
    scaler = precision.scaler() if precision else None

    def step(batch: Any) -> Tensor:
        inputs, targets = batch
        optimizer.zero_grad(set_to_none=True)
        with context():
            loss = model.loss(network(inputs), targets)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        return loss.detach()

    return step


def _can_fuse(parameters: Sequence[Tensor]) -> bool:
    kinds = {"cpu", "cuda", "xpu", "mps"}
    return all(parameter.device.type in kinds and parameter.is_floating_point() for parameter in parameters)
