"""Accuracy over exactly the whole of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytorch_benchmarks.distributed import World, total
from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.precision import Precision

__all__ = ["Accuracy", "evaluate"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a model got right.

    Attributes:
        instances: Pictures that were looked at, by all processes together.
        top1, top5: How many of them had their class as the likeliest, or among the five likeliest.
    """

    instances: int
    top1: int
    top5: int

    def percent(self) -> dict[str, float]:
        """`accuracy_top1` and `accuracy_top5` in %."""
        return {"accuracy_top1": 100 * self.top1 / self.instances, "accuracy_top5": 100 * self.top5 / self.instances}


def evaluate(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    *,
    expected: int,
    precision: Precision,
    world: World,
    device: torch.device,
) -> Accuracy:
    """Count what a model gets right; it is in evaluation mode afterwards.

    Args:
        model: Makes logits, shape (batch, classes), of inputs.
        batches: Of this process: inputs, and class numbers, on the device.
        expected: Pictures in the data set: all processes together must have seen them all, none of them twice.
        precision: With autocast if that is asked for.
        world: The processes that share the work; there may be processes without batches.
        device: Where the model is.

    Raises:
        BenchmarkError: More or fewer pictures were seen.
    """
    model.eval()
    context = precision.context or nullcontext
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for inputs, labels in batches:  # outside of inference mode: loaders write to their tensors again
        with torch.inference_mode(), context():
            output = model(inputs)
            likeliest = output.topk(min(5, output.shape[1]), dim=1).indices
            right = likeliest == labels[:, None]
            counts += torch.stack([torch.full((), len(labels), device=device), right[:, 0].sum(), right.sum()])
    found = Accuracy(*(total(int(number), world, device) for number in counts.tolist()))
    if found.instances != expected:
        raise BenchmarkError(f"{found.instances} pictures were evaluated, but the data set has {expected}")
    return found
