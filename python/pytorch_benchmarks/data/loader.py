"""Load batches ahead of the model, with threads or processes, in memory that is allocated once.

Threads fill preallocated batches. The expensive parts (decoding, resizing, copying) run without the interpreter lock, so threads are
as fast as processes without moving images between address spaces; but they share the interpreter with the training loop, so
processes remain an option.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Protocol

import torch
from torch import Tensor

from benchmark_core.exits import BenchmarkError
from pytorch_benchmarks.data.dataset import Crop, Dataset, Order

_PORTABLE = 1  # cudaHostRegisterPortable: page-locked for all contexts
AHEAD = 3  # batches being filled while one is in use
Batches = Iterator[tuple[Tensor, Tensor]]
_CHUNK = 8  # images that a thread takes at a time
# How workers start; None is Python's default. A fork shares the data set with them at once, others import torch first.
_START = "fork" if sys.platform == "linux" else None
_SMALL = (
    "/dev/shm is too small for --data_loader processes: enlarge it (docker run --shm-size=8g, or --ipc=host), "
    "or use --data_loader threads"
)


@contextmanager
def page_locked(*tensors: Tensor) -> Iterator[bool]:
    """Page-lock the memory of contiguous host tensors within the block; yields whether it is.

    PyTorch allocates page-locked memory, but not where processes share it. Nothing is page-locked without CUDA or ROCm, and if a limit of the driver
    or the system is exceeded. Copies are correct then as well, but the host waits for them.

    Start processes that share the memory before the block: a driver may hide registered memory from processes forked later.

    Source: cudaHostRegister in the chapter Memory Management of NVIDIA's CUDA Runtime API.
    """
    if not torch.cuda.is_available():
        yield False
        return
    registered: list[int] = []
    try:
        for tensor in tensors:
            if int(torch.cuda.cudart().cudaHostRegister(tensor.data_ptr(), tensor.nbytes, _PORTABLE)) != 0:
                _unregister(registered)
                _clear_error()
                break
            registered.append(tensor.data_ptr())
        yield bool(registered)
    finally:
        _unregister(registered)


def _unregister(registered: list[int]) -> None:
    if registered:
        # Copies of this memory may be running. After a fatal error of the device, which ends them as well, every call fails.
        with suppress(RuntimeError):
            torch.cuda.synchronize()
    while registered:
        torch.cuda.cudart().cudaHostUnregister(registered.pop())


def _clear_error() -> None:
    """Make CUDA forget its last error, which PyTorch would otherwise raise at the next kernel launch."""
    with suppress(RuntimeError):
        torch.zeros(1, device="cuda")
    torch.zeros(1, device="cuda")  # an error that persists has another cause


class Finish(Protocol):
    """Converts bytes and labels to the model's inputs and targets."""

    def empty(self, batch_size: int, height: int, width: int) -> Tensor:
        """Allocate the inputs of one batch."""

    def image(self, pixels: Tensor, into: Tensor) -> None:
        """Write the input of one image, uint8, shape (channels, height, width)."""

    def batch(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a complete batch."""


class Place:
    """Memory of one batch.

    Args:
        batch: Bytes of the images; with `finish`, the model's inputs.
        labels: int64, one for each slot.
        finish: Converts bytes to the model's inputs.

    Attributes:
        slots: For each slot, the place of its bytes or its input.
        labels: The labels as an array.
    """

    def __init__(self, batch: Tensor, labels: Tensor, finish: Finish | None = None) -> None:
        self._batch, self._labels, self.finish = batch, labels, finish
        # The views are created once: creating one costs as much as copying a third of an image.
        self.slots = list(batch)
        self.labels = labels.numpy()

    def __reduce__(self) -> tuple[type[Place], tuple[Tensor, Tensor, Finish | None]]:
        """Processes that do not fork get the tensors, whose memory torch shares; an array would be copied."""
        return Place, (self._batch, self._labels, self.finish)

    def result(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets, when all slots are filled."""
        return (self._batch, self._labels) if self.finish is None else self.finish.batch(self._batch, self._labels)


class Ring:
    """Places that are reused in turn.

    Args:
        batch_size: Images in one batch.
        shape: (channels, height, width) of the model's input.
        layout: Memory layout of the images; bytes are stored in it.
        pinned: Allocate page-locked memory, from which a GPU copies asynchronously.
        finish: Converts each image to the model's input as soon as it is read, while its bytes are in the cache. On a CPU that is also
            better than converting in the caller, whose OpenMP threads would keep spinning for a while on the cores that the
            workers need.
    """

    def __init__(
        self, batch_size: int, shape: tuple[int, ...], layout: torch.memory_format, pinned: bool, finish: Finish | None
    ) -> None:
        self.shape, self.layout = shape, layout

        def place() -> Place:
            labels = torch.empty(batch_size, dtype=torch.int64, pin_memory=pinned)
            if finish is not None:
                return Place(finish.empty(batch_size, shape[1], shape[2]), labels, finish)
            whole = (batch_size, *shape)
            return Place(torch.empty(whole, dtype=torch.uint8, memory_format=layout, pin_memory=pinned), labels)

        self.places = [place() for _ in range(AHEAD + 2)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Place:
        """The place of batch `number`."""
        return self.places[number % len(self.places)]

    def scratch(self) -> Tensor:
        """Allocate the bytes of one image, for places that do not store them."""
        return torch.empty((1, *self.shape), dtype=torch.uint8, memory_format=self.layout)[0]


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
    """Batches (uint8 images, int64 labels) in host memory, filled by threads; with 0 workers, by the caller.

    A batch is valid until the one after the next is requested: its memory is reused.

    Args:
        dataset: Images.
        order: Order of the images.
        crop: Crop of each image.
        shape: (channels, height, width) of the model's input.
        workers: Number of threads.
        pinned: Allocate page-locked memory, from which a GPU copies asynchronously.
        finish: Converts bytes to the model's inputs, in the thread that read them.
    """
    layout = torch.channels_last if dataset.channels_last else torch.contiguous_format
    ring = Ring(order.batch_size, shape, layout, pinned, finish)
    if workers == 0:
        return _filled_by_caller(dataset, order, crop, ring)
    return iter(_ThreadLoader(dataset, order, crop, ring, workers))


def _filled_by_caller(dataset: Dataset, order: Order, crop: Crop, ring: Ring) -> Batches:
    scratch = ring.scratch()
    for number, indices in enumerate(order.batches()):
        place = ring[number]
        setting = torch.get_num_threads()
        torch.set_num_threads(1)  # one image is too little work to share: 311 images/s with two threads, 869 with one
        try:
            _fill(dataset, crop, place, scratch, indices, order.draws(number), range(order.batch_size))
            result = place.result()
        finally:
            torch.set_num_threads(setting)
        yield result


def _fill(
    dataset: Dataset,
    crop: Crop,
    place: Place,
    scratch: Tensor | None,
    indices: Sequence[int],
    draws: Sequence[Sequence[float]],
    slots: range,
) -> None:
    """Fill some slots of a batch; `scratch` is needed if its places do not store bytes."""
    finish = place.finish
    for slot in slots:
        image = place.slots[slot] if scratch is None or finish is None else scratch
        place.labels[slot] = dataset.read_into(indices[slot], image, crop, iter(draws[slot]).__next__)
        if finish is not None:
            finish.image(image, place.slots[slot])


class _ThreadLoader:
    """Threads that fill a ring of batches; `_lock` guards everything but the pixels."""

    def __init__(self, dataset: Dataset, order: Order, crop: Crop, ring: Ring, workers: int) -> None:
        self.dataset, self.order, self.crop, self.ring = dataset, order, crop, ring
        self.chunks = [
            range(start, min(start + _CHUNK, order.batch_size)) for start in range(0, order.batch_size, _CHUNK)
        ]
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._drawn: dict[int, tuple[list[int], list[list[float]]]] = {}  # batch → images, random numbers
        self._source = order.batches()
        self._next_chunk = 0  # counted over all batches
        self._missing: dict[int, int] = {}  # batch → chunks that are still being filled
        self._released = 0  # batches before this one may be overwritten
        self._error: BaseException | None = None
        self._stopped = False
        # Several threads resize at a time, so each must use one torch thread. The setting is per thread, but a thread copies the most
        # recent setting when it first needs it; so each thread reads it before setting its own, and the old one is restored.
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
        scratch = self.ring.scratch()
        try:
            while True:
                job = self._take()
                if job is None:
                    return
                number, (indices, draws), slots = job
                _fill(self.dataset, self.crop, self.ring[number], scratch, indices, draws, slots)
                self._done(number)
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _take(self) -> tuple[int, tuple[list[int], list[list[float]]], range] | None:
        """The next chunk, once a place is free for its batch."""
        with self._changed:
            number, chunk = divmod(self._next_chunk, len(self.chunks))
            self._next_chunk += 1
            while number >= self._released + len(self.ring) and not self._stopped:
                self._changed.wait()
            if self._stopped or self._error is not None:
                return None
            while number not in self._drawn:  # batches are drawn in order, by whichever thread is first
                following = max(self._drawn, default=self._released - 1) + 1
                try:
                    self._drawn[following] = (next(self._source), self.order.draws(following))
                except BaseException as error:  # kept before another thread finds the generator at its end
                    self._error = error
                    raise
                self._missing[following] = len(self.chunks)
            return number, self._drawn[number], self.chunks[chunk]

    def _done(self, number: int) -> None:
        """Count a chunk as filled."""
        with self._changed:
            self._missing[number] -= 1
            if self._missing[number] == 0:
                self._changed.notify_all()

    def __iter__(self) -> Batches:
        try:
            for number in itertools.count():
                with self._changed:
                    # The previous batch may still be in use; the one before it is not.
                    self._released = max(0, number - 1)
                    self._changed.notify_all()
                    while self._missing.get(number, 1) and self._error is None:
                        self._changed.wait()
                    if self._error is not None:
                        raise self._error
                    if number:
                        self._missing.pop(number - 1)
                        self._drawn.pop(number - 1)
                yield self.ring[number].result()
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for thread in self._threads:
                thread.join()


class _Shared(torch.utils.data.Dataset[int]):
    """Batches in memory shared by all processes: a worker fills a place and returns only its number.

    An item is a whole batch, indexed by (its number, its images).
    """

    def __init__(self, dataset: Dataset, order: Order, crop: Crop, shape: tuple[int, ...], places: int) -> None:
        self.dataset, self.order, self.crop = dataset, order, crop
        layout = torch.channels_last if dataset.channels_last else torch.contiguous_format
        whole = (order.batch_size, *shape)
        strides = torch.empty(whole, device="meta", memory_format=layout).stride()
        size = torch.Size(whole).numel()
        memory = torch.empty(places * size, dtype=torch.uint8).share_memory_()
        labels = torch.empty((places, order.batch_size), dtype=torch.int64).share_memory_()
        self.memory = (memory, labels)
        self.places = [
            Place(memory[place * size :].as_strided(whole, strides), labels[place]) for place in range(places)
        ]

    def __getitem__(self, key: tuple[int, list[int]]) -> int:
        number, indices = key
        slots = range(len(indices))
        _fill(self.dataset, self.crop, self.place(number), None, indices, self.order.draws(number), slots)
        return number

    def place(self, number: int) -> Place:
        """The place of batch `number`."""
        return self.places[number % len(self.places)]


def _allocated(dataset: Dataset, order: Order, crop: Crop, shape: tuple[int, ...], places: int) -> _Shared:
    """Allocate the shared memory.

    Raises:
        BenchmarkError: /dev/shm is too small.
    """
    try:
        return _Shared(dataset, order, crop, shape, places)
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        needed = places * order.batch_size * (math.prod(shape) + 8)  # bytes, and a label of 8 bytes
        raise BenchmarkError(
            f"{_SMALL}; its batches need {needed / (1 << 20):,.0f} MiB ({str(error).splitlines()[0]})"
        ) from None


def processes(
    dataset: Dataset, order: Order, crop: Crop, shape: tuple[int, ...], *, workers: int, pinned: bool = False
) -> Batches:
    """Like `threads`, with worker processes of torch's DataLoader. The iterator is infinite, so workers are started once."""
    # As many batches as DataLoader requests at a time, plus the one in use and the one before it.
    shared = _allocated(dataset, order, crop, shape, AHEAD * max(1, workers) + 2)
    loader: torch.utils.data.DataLoader[int] = torch.utils.data.DataLoader(
        shared,
        batch_size=None,
        sampler=_Endless(order),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context=_START if workers else None,
        generator=torch.Generator(),  # separate: it must not advance the generator of the model's dropout
    )
    try:
        yield from _read(loader, shared, pinned)
        return
    except Exception as error:
        # Its frames refer to DataLoader's iterator and to the error itself. The garbage collector closes the queues of such a cycle before
        # torch asks the workers to exit, so torch would wait five seconds for each of them, at any later time.
        error.__traceback__ = None
        if isinstance(error, BenchmarkError):  # of a worker: torch puts the worker's traceback before the message
            failure = type(error)(str(error).rpartition(f"{type(error).__name__}: ")[2].strip())
        elif isinstance(error, RuntimeError) and "exited unexpectedly" in str(error):
            advice = f": {_SMALL}" if "Bus error" in str(error.__cause__) else ""
            failure = BenchmarkError(f"a data loader process died: {str(error).splitlines()[0]}{advice}")
        else:
            raise
    try:
        raise failure  # here, so that it does not refer to the other error
    finally:
        del failure  # nor to this frame, which holds the memory of all batches, and back


def _read(loader: torch.utils.data.DataLoader[int], shared: _Shared, pinned: bool) -> Batches:
    numbers = iter(loader)  # starts the workers
    with page_locked(*shared.memory) if pinned else nullcontext(False) as locked:
        for number in numbers:
            images, labels = shared.place(number).result()
            yield (images.pin_memory(), labels.pin_memory()) if pinned and not locked else (images, labels)


class _Endless(torch.utils.data.Sampler[tuple[int, list[int]]]):
    def __init__(self, order: Order) -> None:
        self.order = order

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return enumerate(self.order.batches())
