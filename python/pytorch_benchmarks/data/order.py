"""The order in which images are read, and the random numbers of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pytorch_benchmarks.data.crops import MOST_DRAWS
from pytorch_benchmarks.errors import UsageError

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which images are read, epoch after epoch.

    Each of `world` processes reads every `world`-th image of an epoch, none of them twice; images that do not fill a batch in every
    process are left out.

    Attributes:
        length: Images in the data set.
        batch_size: Images in one batch of one process.
        shuffle: Whether each epoch has a new random order.
        seed: Seed of the random orders; the same in all processes.
        rank, world: Rank of this process, and number of processes.
        first_epoch: First epoch: batches and random numbers are those of a run that has reached it.
    """

    length: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    rank: int = 0
    world: int = 1
    first_epoch: int = 0

    def __post_init__(self) -> None:
        if self.batches_per_epoch == 0:
            images = f"{self.length} images" + (f" for {self.world} processes" if self.world > 1 else "")
            raise UsageError(f"the data set has {images}, fewer than a batch of {self.batch_size}")

    @property
    def batches_per_epoch(self) -> int:
        return self.length // (self.world * self.batch_size)

    def epoch(self, number: int) -> np.ndarray:
        """Images of this process in an epoch, int64, shape (batches_per_epoch, batch_size)."""
        if self.shuffle:
            order = np.random.default_rng((abs(self.seed), number)).permutation(self.length)
        else:
            order = np.arange(self.length)
        used = self.batches_per_epoch * self.batch_size
        return order[self.rank :: self.world][:used].reshape(-1, self.batch_size)

    def batches(self) -> Iterator[list[int]]:
        """Yield the image numbers of each batch, without end."""
        for number in itertools.count(self.first_epoch):
            for indices in self.epoch(number):
                yield indices.tolist()

    def draws(self, number: int) -> list[list[float]]:
        """Random numbers for each image of batch `number`, so that augmentation does not depend on which worker handles an image.

        Drawn for a whole batch, they cost a tenth of one generator per image.
        """
        number += self.first_epoch * self.batches_per_epoch
        generator = np.random.default_rng((abs(self.seed), self.rank, number, 1))
        return generator.random((self.batch_size, MOST_DRAWS)).tolist()
