"""A language model in this process: prompts of a batch are read together, then each step makes a token of each sequence (static batching)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.models.generator import Cache, Generator
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.serving.backend import Progress, Unwatched
from pytorch_benchmarks.serving.network import warmup_sizes

__all__ = ["Prompts", "TextBackend"]


class Prompts:
    """Random prompts of given lengths, and how long the answers are.

    Args:
        vocabulary: Number of tokens.
        lengths: Of prompts.
        answers: Tokens of each answer.
        seed: Of the tokens.
        device: Where they are needed.
    """

    def __init__(
        self, vocabulary: int, lengths: Sequence[int], answers: Sequence[int], seed: int, device: torch.device
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lengths, self.answers, self.count = list(lengths), list(answers), len(lengths)
        self._tokens = torch.randint(vocabulary, (len(lengths), max(lengths)), generator=generator).to(device)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Prompts, int64, shape (batch, longest): shorter ones are filled up with tokens in front."""
        longest = max(self.lengths[number] for number in numbers)
        return self._tokens[list(numbers), :longest]


class TextBackend:
    """Generates: always the likeliest token, until each answer has its length.

    A batch goes on until its longest answer is made; shorter ones are given back when they are complete, but keep their place: their steps are the
    cost of static batching. The tokens that fill up short prompts are worked on like others.

    Args:
        model: In evaluation mode from now on; its prompts and answers are as long as the longest in `prompts` at least.
        prompts: The library.
        synchronize: Waits until the device has done what was asked of it.
        max_batch: Prompts in a batch at most.
        warmup: Batches of each size that `warm_up` runs.
        precision: With autocast if that is asked for.
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
            made = 1
            while left:
                ready = [position for position, wanted in left.items() if wanted <= made]
                if ready:
                    self._synchronize()
                    progress.done(ready, [left.pop(position) for position in ready])
                if left:
                    token = self._model(token, cache, start + made - 1).argmax(dim=-1)
                    made += 1

    def close(self) -> None:
        pass
