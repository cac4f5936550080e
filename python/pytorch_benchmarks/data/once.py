"""Every image of a data set exactly once, for evaluation: without padding of batches, and without omissions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, Uniform
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.data.prefetch import Normalise
from pytorch_benchmarks.data.source import loaded
from pytorch_benchmarks.distributed import World

__all__ = ["once"]


class _Part(Dataset):
    """A subset of a data set, renumbered from 0."""

    def __init__(self, whole: Dataset, part: range) -> None:
        self.whole, self.part, self.channels_last = whole, part, whole.channels_last

    def __len__(self) -> int:
        return len(self.part)

    @property
    def num_classes(self) -> int:
        return self.whole.num_classes

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        return self.whole.read_into(self.part[index], target, crop, uniform)


def once(
    dataset: Dataset,
    batch_size: int,
    crop: Crop,
    shape: tuple[int, ...],
    normalise: Normalise,
    *,
    workers: int,
    world: World,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches that contain each image of a data set once, in one of the processes. The last batch is shorter, or missing.

    Processes share the images evenly; some have one more than others.

    Args:
        dataset: Images.
        batch_size: Images in a batch.
        crop: Crop of each image.
        shape: (channels, height, width) of the images.
        normalise: Converts to inputs and targets.
        workers: Threads that read and decode images.
        world: Rank of this process, and number of processes.
    """
    mine = range(world.rank, len(dataset), world.size)
    full = len(mine) // batch_size * batch_size
    for part, size in ((mine[:full], batch_size), (mine[full:], len(mine) - full)):
        if not part:
            continue
        batches = loaded(_Part(dataset, part), Order(len(part), size), crop, shape, normalise, workers=workers)
        yield from itertools.islice(batches, len(part) // size)
