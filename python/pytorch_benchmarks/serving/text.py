"""A backend for language models in this process, with static batching: prefill of all prompts, then one token of each sequence per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.devices import copied_to
from pytorch_benchmarks.models.generator import Cache, Generator
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.serving.backend import Progress, Unwatched
from pytorch_benchmarks.serving.network import warmup_sizes

__all__ = ["Prompts", "TextBackend"]


class Prompts:
    """Random prompts of given lengths, and the lengths of their answers.

    Args:
        vocabulary: Size of the vocabulary.
        lengths: Number of tokens of each prompt.
        answers: Number of tokens of each answer.
        seed: For the random tokens.
        device: Of the tokens.
    """

    def __init__(
        self, vocabulary: int, lengths: Sequence[int], answers: Sequence[int], seed: int, device: torch.device
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lengths, self.answers, self.count = list(lengths), list(answers), len(lengths)
        self._tokens = torch.randint(vocabulary, (len(lengths), max(lengths)), generator=generator).to(device)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Prompts, int64, shape (batch, longest): random tokens pad shorter ones."""
        longest = max(self.lengths[number] for number in numbers)
        return self._tokens[:, :longest].index_select(0, copied_to(self._tokens.device, numbers))


class TextBackend:
    """Generates text, greedily, until each answer has its length.

    A batch runs until its longest answer is complete; shorter answers are returned as soon as they are complete, but keep their slots: these steps
    are the cost of static batching. Padding of short prompts is computed like other tokens.

    Args:
        model: Switched to evaluation mode; its maximum lengths are at least those of the longest prompt and answer.
        prompts: Library of prompts.
        synchronize: Waits until the device has finished.
        max_batch: Maximum number of prompts in a batch.
        warmup: Number of batches of each size that `warm_up` runs.
        precision: May request autocast.
    """

    def __init__(
        self,
        model: Generator,
        prompts: Prompts,
        synchronize: Callable[[], Any],
        max_batch: int,
        warmup: int,
        precision: Precision | None = None,
    ) -> None:
        model.eval()
        self._model, self._prompts, self._synchronize = model, prompts, synchronize
        self._max_batch, self._warmup = max_batch, warmup
        self._context = (precision.context if precision else None) or nullcontext
        self._cache = self._new_cache(precision)

    @torch.inference_mode()
    def _new_cache(self, precision: Precision | None) -> Cache:
        cache = self._model.cache(self._max_batch)
        if precision is not None and precision.autocast is not None:
            return [(keys.to(precision.autocast), values.to(precision.autocast)) for keys, values in cache]
        return cache

    def warm_up(self) -> None:
        for size in warmup_sizes(self._max_batch):
            for _ in range(self._warmup):
                self.answer([number % self._prompts.count for number in range(size)], Unwatched())

    @torch.inference_mode()
    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        left = {position: self._prompts.answers[sample] for position, sample in enumerate(samples)}
        cache = [(keys[: len(samples)], values[: len(samples)]) for keys, values in self._cache]
        prompt = self._prompts.batch(samples)
        start = prompt.shape[1]
        with self._context():
            token = self._model(prompt, cache).argmax(dim=-1)
            self._synchronize()
            progress.first_token(range(len(samples)))
            generated = 1
            while left:
                ready = [position for position, wanted in left.items() if wanted <= generated]
                if ready:
                    self._synchronize()
                    progress.done(ready, [left.pop(position) for position in ready])
                if left:
                    token = self._model(token, cache, start + generated - 1).argmax(dim=-1)
                    generated += 1

    def close(self) -> None:
        pass
