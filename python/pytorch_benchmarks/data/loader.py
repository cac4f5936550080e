"""Load batches ahead of the model, by threads or by processes.

Threads fill uint8 batches that were allocated beforehand. What takes the time (decoding, resizing, copying) runs outside Python's
lock, so threads reach what processes reach without moving pictures between address spaces; they share the interpreter with the
training loop, though, which is why processes stay as an option.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pytorch_benchmarks.data.crops import Crop
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.errors import BenchmarkError, UsageError

__all__ = ["Batches", "Finish", "Order", "processes", "threads"]

Batches = Iterator[tuple[Tensor, Tensor]]

_CHUNK = 8  # images that a thread takes at a time
_AHEAD = 3  # batches that are filled while one is being used


@dataclass(frozen=True, slots=True)
class Order:
    """In which order images are read, epoch after epoch.

    Each of `world` processes reads every `world`-th image of an epoch, none of them twice; what does not fill a batch in every
    process is left out.

    Attributes:
        length: Images in the data set.
        batch_size: Images in one batch of one process.
        shuffle: Whether each epoch has a random order of its own.
        seed: Decides the random orders; the same in all processes.
        rank, world: This process, and how many there are.
    """

    length: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    rank: int = 0
    world: int = 1

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
            order = np.random.default_rng((self.seed, number)).permutation(self.length)
        else:
            order = np.arange(self.length)
        used = self.batches_per_epoch * self.batch_size
        return order[self.rank :: self.world][:used].reshape(-1, self.batch_size)

    def batches(self) -> Iterator[np.ndarray]:
        """Image numbers of each batch, for ever."""
        for number in itertools.count():
            yield from self.epoch(number)


def threads(
    dataset: Dataset,
    order: Order,
    crop: Crop,
    shape: tuple[int, ...],
    *,
    workers: int,
    pinned: bool = False,
    finish: Finish | None = None,
) -> Batches:
    """Batches (uint8 images, int64 labels) in host memory, filled by threads; with no workers, by the caller.

    A batch is valid until the one after the next is asked for: its memory is used again.

    Args:
        dataset: Images.
        order: Which image comes when.
        crop: What is done to it.
        shape: (channels, height, width) of the model's input.
        workers: Number of threads.
        pinned: Allocate page-locked memory, from which a GPU copies by itself.
        finish: Makes the model's inputs of a full batch, in the thread that filled it. On a CPU that is better than to leave it
            to the caller: the caller's OpenMP threads would go on spinning for a while, on the cores that the workers need.
    """
    ring = _Ring(dataset, order.batch_size, shape, pinned, finish)
    if workers == 0:
        return _filled_by_caller(dataset, order, crop, ring)
    return iter(_ThreadLoader(dataset, order, crop, ring, workers))


class Finish(Protocol):
    """Makes inputs and targets of a batch of bytes."""

    def empty(self, batch_size: int, height: int, width: int) -> Tensor: ...

    def __call__(self, images: Tensor, labels: Tensor, into: Tensor | None = None) -> tuple[Tensor, Tensor]: ...


class _Ring:
    """Memory for the batches that are being filled and used, allocated once."""

    def __init__(
        self, dataset: Dataset, batch_size: int, shape: tuple[int, ...], pinned: bool, finish: Finish | None
    ) -> None:
        layout = torch.channels_last if dataset.channels_last else torch.contiguous_format
        self.size = _AHEAD + 2
        self.finish = finish
        self.filled = [
            (
                torch.empty((batch_size, *shape), dtype=torch.uint8, memory_format=layout, pin_memory=pinned),
                torch.empty(batch_size, dtype=torch.int64, pin_memory=pinned),
            )
            for _ in range(self.size)
        ]
        self._inputs = [finish.empty(batch_size, shape[1], shape[2]) for _ in range(self.size)] if finish else []
        self._finished: list[tuple[Tensor, Tensor]] = list(self.filled)

    def bytes_of(self, number: int) -> tuple[Tensor, Tensor]:
        """Bytes and labels of batch `number`."""
        return self.filled[number % self.size]

    def complete(self, number: int) -> None:
        """All images of batch `number` are there."""
        if self.finish is not None:
            place = number % self.size
            self._finished[place] = self.finish(*self.filled[place], self._inputs[place])

    def result(self, number: int) -> tuple[Tensor, Tensor]:
        """What the caller gets of batch `number`."""
        return self._finished[number % self.size]


def _filled_by_caller(dataset: Dataset, order: Order, crop: Crop, ring: _Ring) -> Batches:
    for number, indices in enumerate(order.batches()):
        images, labels = ring.bytes_of(number)
        setting = torch.get_num_threads()
        torch.set_num_threads(1)  # one picture is too little work to share: 311 images/s with two threads, 869 with one
        try:
            _fill(dataset, indices, range(len(indices)), number, order, crop, images, labels)
            ring.complete(number)
        finally:
            torch.set_num_threads(setting)
        yield ring.result(number)


def _fill(
    dataset: Dataset,
    indices: np.ndarray,
    slots: range,
    number: int,
    order: Order,
    crop: Crop,
    images: Tensor,
    labels: Tensor,
) -> None:
    for slot in slots:
        labels[slot] = dataset.read_into(int(indices[slot]), images[slot], crop, _random(order, number, slot))


def _random(order: Order, number: int, slot: int) -> Random:
    """The crop of an image depends on its place in the order alone: not on which worker gets to it."""
    return Random(((order.seed * 1_000_003 + order.rank) * 1_000_003 + number) * order.batch_size + slot)


class _ThreadLoader:
    """Threads that fill a ring of batches; `_lock` guards everything but the pixels."""

    def __init__(self, dataset: Dataset, order: Order, crop: Crop, ring: _Ring, workers: int) -> None:
        self.dataset, self.order, self.crop, self.ring = dataset, order, crop, ring
        self.chunks = [
            range(start, min(start + _CHUNK, order.batch_size)) for start in range(0, order.batch_size, _CHUNK)
        ]
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._indices: dict[int, np.ndarray] = {}
        self._source = order.batches()
        self._next_chunk = 0  # of all chunks of all batches
        self._missing: dict[int, int] = {}  # batch → chunks that are still being filled
        self._released = 0  # batches before this one may be overwritten
        self._error: BaseException | None = None
        self._stopped = False
        # Several threads resize at a time, so each of them must do it alone. The setting is the thread's own, but a thread copies
        # the last one that was set when it first needs it; so each asks for it before it sets it, and the old one is set again.
        setting = torch.get_num_threads()
        started = threading.Barrier(workers + 1)
        self._threads = [threading.Thread(target=self._work, args=(started,), daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()
        started.wait()
        torch.set_num_threads(setting)

    def _work(self, started: threading.Barrier) -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        started.wait()
        try:
            while True:
                job = self._take()
                if job is None:
                    return
                number, indices, slots = job
                images, labels = self.ring.bytes_of(number)
                _fill(self.dataset, indices, slots, number, self.order, self.crop, images, labels)
                self._done(number)
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _take(self) -> tuple[int, np.ndarray, range] | None:
        """The next chunk, once there is room for its batch."""
        with self._changed:
            number, chunk = divmod(self._next_chunk, len(self.chunks))
            self._next_chunk += 1
            while number >= self._released + self.ring.size and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return None
            while number not in self._indices:  # batches are drawn in order, whoever comes first
                latest = max(self._indices, default=self._released - 1)
                self._indices[latest + 1] = next(self._source)
                self._missing[latest + 1] = len(self.chunks)
            return number, self._indices[number], self.chunks[chunk]

    def _done(self, number: int) -> None:
        """A chunk is filled; whoever fills a batch's last one completes the batch."""
        with self._changed:
            if self._missing[number] > 1:
                self._missing[number] -= 1
                return
        self.ring.complete(number)
        with self._changed:
            self._missing[number] = 0
            self._changed.notify_all()

    def __iter__(self) -> Batches:
        try:
            for number in itertools.count():
                with self._changed:
                    # The batch before may still be in use; the one before that is not.
                    self._released = max(0, number - 1)
                    self._changed.notify_all()
                    while self._missing.get(number, 1) and self._error is None:
                        self._changed.wait()
                    if self._error is not None:
                        raise self._error
                    if number:
                        self._missing.pop(number - 1)
                        self._indices.pop(number - 1)
                yield self.ring.result(number)
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for thread in self._threads:
                thread.join()


class _Samples(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """The data set as worker processes see it: a key is (image, batch number, slot)."""

    def __init__(self, dataset: Dataset, order: Order, crop: Crop, shape: tuple[int, ...]) -> None:
        self.dataset, self.order, self.crop, self.shape = dataset, order, crop, shape

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[Tensor, int]:
        index, number, slot = key
        image = torch.empty(self.shape, dtype=torch.uint8)
        label = self.dataset.read_into(index, image, self.crop, _random(self.order, number, slot))
        return image, label


def processes(
    dataset: Dataset, order: Order, crop: Crop, shape: tuple[int, ...], *, workers: int, pinned: bool = False
) -> Batches:
    """Like `threads`, with worker processes of torch's DataLoader. It never comes to an end, so workers never start again."""

    def keys() -> Iterator[list[tuple[int, int, int]]]:
        for number, indices in enumerate(order.batches()):
            yield [(int(index), number, slot) for slot, index in enumerate(indices)]

    loader: torch.utils.data.DataLoader[tuple[Tensor, Tensor]] = torch.utils.data.DataLoader(
        _Samples(dataset, order, crop, shape),
        batch_sampler=_Keys(keys()),
        num_workers=workers,
        pin_memory=pinned,
        prefetch_factor=_AHEAD if workers else None,
    )
    return _named_errors(loader)


class _Keys(torch.utils.data.Sampler[list[tuple[int, int, int]]]):
    def __init__(self, keys: Iterator[list[tuple[int, int, int]]]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return self.keys


def _named_errors(loader: torch.utils.data.DataLoader[tuple[Tensor, Tensor]]) -> Batches:
    try:
        yield from loader
    except RuntimeError as error:
        if "exited unexpectedly" in str(error):
            raise BenchmarkError(f"a data loader process died: {str(error).splitlines()[0]}") from None
        raise
