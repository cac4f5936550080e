"""The library of samples: inputs that are generated or read before the run, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.data.source import open_source
from pytorch_benchmarks.devices import copied_to
from pytorch_benchmarks.distributed import World
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.tensors import map_tensors

__all__ = ["Samples", "load_samples"]


class Samples:
    """Inputs of a model on its device.

    Args:
        inputs: One or several tensors, shape (samples, ...).
        title: Their source, for the log.
    """

    def __init__(self, inputs: Any, title: str) -> None:
        self._inputs, self.title = inputs, title
        first = inputs if isinstance(inputs, Tensor) else inputs[0]
        self.count, self._device = len(first), first.device

    def batch(self, numbers: Sequence[int]) -> Any:
        """The inputs of some samples: a view if there is one, otherwise a copy."""
        if len(numbers) == 1:
            number = numbers[0]
            return map_tensors(lambda tensor: tensor[number : number + 1], self._inputs)
        index = copied_to(self._device, numbers)
        return map_tensors(lambda tensor: tensor.index_select(0, index), self._inputs)


def load_samples(options: BenchmarkOptions, model: Model, device: torch.device, dtype: torch.dtype) -> Samples:
    """The requested number of samples: synthetic, or the first ones of a data set.

    Raises:
        UsageError: The data set cannot be read, or does not fit the model.
    """
    whole = replace(options, batch_size=options.serving_samples, num_loader_threads=0)
    source = open_source(whole, model, device=device, dtype=dtype, world=World())
    inputs, _ = next(source.batches)
    return Samples(map_tensors(Tensor.clone, inputs), source.title)
