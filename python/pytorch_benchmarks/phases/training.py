"""Training: forward, loss, backward, weight update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.precision import Precision

__all__ = ["LEARNING_RATE", "can_fuse", "training_step"]

# Small, because a benchmark repeats one batch arbitrarily often: with 0.01, AlexNet at batch 2 ends in NaN after 100 steps.
LEARNING_RATE = 0.001


def training_step(
    model: Model,
    network: nn.Module,
    precision: Precision | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    scaler: torch.amp.GradScaler | None = None,
    clip_grad_norm: float = 0.0,
) -> Callable[[Any], Tensor]:
    """Return a function that trains on one batch `(inputs, targets)` and returns the loss, still on the device.

    Benchmarks and `train.py` run the same step.

    Args:
        model: Provides the loss and the weights.
        network: The network to call: the model itself, or a wrapper such as DistributedDataParallel.
        precision: Adds autocast, and gradient scaling for float16, if it specifies them; None computes in the type of the weights.
        optimizer: By default stochastic gradient descent with momentum, usual in benchmarks of image classification.
        scaler: Gradient scaler; by default that of the precision.
        clip_grad_norm: Maximum norm of the gradient, of all weights together; 0 disables clipping.
    """
    network.train()
    parameters = list(model.parameters())
    if optimizer is None:
        optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.9, fused=can_fuse(parameters))
    if scaler is None and precision is not None:
        scaler = precision.scaler()
    if scaler is not None:
        _begin_momentum(optimizer)
    context = (precision.context if precision else None) or nullcontext

    def step(batch: Any) -> Tensor:
        inputs, targets = batch
        optimizer.zero_grad(set_to_none=True)
        with context():
            loss = model.loss(network(inputs), targets)
        if scaler is None:
            loss.backward()
        else:
            scaler.scale(loss).backward()
        if clip_grad_norm:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, clip_grad_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        return loss.detach()

    return step


def _begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Set the momentum of fused gradient descent to zero, which is that of a first step.

    In its first step PyTorch allocates it without a value, and the kernel writes nothing if the scaled gradients overflow: the next step
    would add arbitrary numbers to the weights.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                if parameter.requires_grad and optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def can_fuse(parameters: Sequence[Tensor]) -> bool:
    """Whether the fused form of an optimiser is available: one kernel instead of one per tensor, 1.2 to 1.5 times as fast a step on CPUs.

    On CPUs, fused gradient descent leaves most weights in float16 and bfloat16 as they are (https://github.com/pytorch/pytorch/issues/191763).
    """
    kinds = {"cpu", "cuda", "xpu", "mps"}
    return all(
        parameter.device.type in kinds
        and parameter.is_floating_point()
        and not (parameter.device.type == "cpu" and parameter.itemsize < 4)
        for parameter in parameters
    )
