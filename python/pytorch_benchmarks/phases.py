"""The work on a batch: training, inference, ingestion and generation, each as a function of the batch; captured as a CUDA graph on request."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.devices import Precision, map_tensors
from pytorch_benchmarks.models.model import Generator, Model

_BEFORE_RECORDING = 3  # steps that allocate and tune, as torch.cuda.graph requires
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


def ingestion_step() -> Callable[[Any], Any]:
    """Return a function that takes one batch and does nothing with it."""

    def step(batch: Any) -> Any:
        return batch[0]

    return step


class Generation:
    """The step of inference for models that generate: prefill, the device synchronised, decode.

    Args:
        model: Put into evaluation mode.
        batch_size: Prompts in a batch.
        synchronize: Waits until the device has finished all work.
        precision: Weights' type and autocast.
    """

    def __init__(
        self, model: Generator, batch_size: int, synchronize: Callable[[], Any], precision: Precision | None = None
    ) -> None:
        model.eval()
        self.model, self.batch_size, self.synchronize = model, batch_size, synchronize
        self._context = (precision.context if precision else None) or nullcontext
        with torch.inference_mode():
            self._cache = model.cache(batch_size)
        if precision is not None and precision.autocast is not None:
            self._cache = [(k.to(precision.autocast), v.to(precision.autocast)) for k, v in self._cache]
        self._prefill, self._decode = array("d"), array("d")

    @torch.inference_mode()
    def __call__(self, batch: Any) -> Tensor:
        """New tokens of one batch, int64, shape (batch, new tokens)."""
        with self._context():
            start = perf_counter()
            first = self.model.prefill(batch[0], self._cache)
            self.synchronize()
            middle = perf_counter()
            rest = self.model.decode(first, self._cache, self.model.new_tokens - 1)
            self.synchronize()
            end = perf_counter()
        self._prefill.append(middle - start)
        self._decode.append(end - middle)
        return torch.cat([first, rest], dim=1)

    def metrics(self, batches: int, replicas: int) -> dict[str, float]:
        """Log values of the last `batches`: milliseconds of prefill and of decode, and tokens per second of all replicas.

        Prefill generates the first new token, decode the others: its rate is that of tokens generated one by one.
        """
        prefill, decode = sum(self._prefill[-batches:]) / batches, sum(self._decode[-batches:]) / batches
        sequences = self.batch_size * replicas
        return {
            "results.time_prefill": 1000 * prefill,
            "results.time_decode": 1000 * decode,
            "results.prefill_throughput": sequences * self.model.sequence_length / prefill,
            "results.decode_throughput": sequences * (self.model.new_tokens - 1) / decode,
        }


def graphed(step: Callable[[Any], Any], device: torch.device) -> Callable[[Any], Any]:
    """A step that is captured at its first call and replayed for each batch afterwards.

    Args:
        step: Does the work of one batch; it must not depend on values read back from the device.
        device: A CUDA device.
    """
    graph = torch.cuda.CUDAGraph()
    inputs: Any = None
    result: Any = None

    def record(batch: Any) -> None:
        nonlocal inputs, result
        inputs = map_tensors(Tensor.clone, batch)
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(_BEFORE_RECORDING):
                step(inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        with torch.cuda.graph(graph):
            result = step(inputs)

    last: Any = None

    def replay(batch: Any) -> Any:
        nonlocal last
        if inputs is None:
            record(batch)
            last = batch
        elif batch is not last:  # a repeated synthetic batch need not be copied again
            map_tensors(lambda to, new: to.copy_(new, non_blocking=True), inputs, batch)
            last = batch
        graph.replay()
        return result

    return replay


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
