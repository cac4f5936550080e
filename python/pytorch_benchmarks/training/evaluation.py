"""Accuracy over a complete data set, each image exactly once."""

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
    """Counts of correct predictions.

    Attributes:
        instances: Images evaluated by all processes together.
        top1, top5: Images whose class was the most likely, or among the five most likely.
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
    """Count the correct predictions of a model; leaves it in evaluation mode.

    Args:
        model: Maps inputs to logits, shape (batch, classes).
        batches: Batches of this process: inputs and class numbers, on the device.
        expected: Images in the data set: all processes together must evaluate each of them once.
        precision: Adds autocast if it specifies one.
        world: The processes that share the work; there may be processes without batches.
        device: Device of the model.

    Raises:
        BenchmarkError: More or fewer images were evaluated.
    """
    model.eval()
    context = precision.context or nullcontext
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for inputs, labels in batches:  # outside of inference mode: loaders reuse their tensors
        with torch.inference_mode(), context():
            output = model(inputs)
            likeliest = output.topk(min(5, output.shape[1]), dim=1).indices
            right = likeliest == labels[:, None]
            counts += torch.stack([torch.full((), len(labels), device=device), right[:, 0].sum(), right.sum()])
    found = Accuracy(*(total(int(number), world, device) for number in counts.tolist()))
    if found.instances != expected:
        raise BenchmarkError(f"{found.instances} images were evaluated, but the data set has {expected}")
    return found
