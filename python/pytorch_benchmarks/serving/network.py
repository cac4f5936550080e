"""A backend for models in this process that answer all samples of a batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytorch_benchmarks.serving.backend import Progress
from pytorch_benchmarks.serving.samples import Samples

__all__ = ["NetworkBackend", "warmup_sizes"]

_TUNING = 2  # batches of a size: cuDNN times its algorithms in the first one, and torch.compile captures a CUDA graph in the second one


class NetworkBackend:
    """Runs the inference step on batches of samples.

    Args:
        step: Function of a batch `(inputs, targets)`.
        samples: Library of samples.
        synchronize: Waits until the device has finished.
        max_batch: Maximum number of samples in a batch.
        warmup: Number of batches of each size that `warm_up` runs.
        tunes: Whether the device tunes every size separately: then sizes between those of `warmup_sizes` run, too, at most twice.
    """

    def __init__(
        self,
        step: Callable[[Any], Any],
        samples: Samples,
        synchronize: Callable[[], Any],
        max_batch: int,
        warmup: int,
        *,
        tunes: bool = False,
    ) -> None:
        self._step, self._samples, self._synchronize = step, samples, synchronize
        self._max_batch, self._warmup, self._tunes = max_batch, warmup, tunes

    def warm_up(self) -> None:
        usual = warmup_sizes(self._max_batch)
        for size in range(1, self._max_batch + 1) if self._tunes and self._warmup else usual:
            for _ in range(self._warmup if size in usual else min(self._warmup, _TUNING)):
                self._run([number % self._samples.count for number in range(size)])

    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        self._run(samples)

    def close(self) -> None:
        pass

    def _run(self, samples: Sequence[int]) -> None:
        self._step((self._samples.batch(samples), None))
        self._synchronize()


def warmup_sizes(most: int) -> list[int]:
    """Batch sizes of the warm-up: 1, 2, 4, ... and the largest, because memory, tuning and compilation depend on the size."""
    sizes = [1]
    while sizes[-1] * 2 < most:
        sizes.append(sizes[-1] * 2)
    return sizes if most == 1 else [*sizes, most]
