"""Generation: a prompt is read, then tokens are generated one by one with a cache of keys and values."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.models.generator import Generator
from pytorch_benchmarks.precision import Precision

__all__ = ["Generation"]


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
