"""Time batches without waiting for the device, and report rates and losses later."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from voir.helpers import current_overseer
from voir.phase import StopProgram
from voir.smuggle import SmuggleWriter

Push = Callable[..., None]


def file_push(fp: TextIO | None = None) -> Push:
    """Return a function that writes events to a file, one per line; to standard output by default."""

    def push(**event: Any) -> None:
        print(json.dumps({"task": "train", **event}), file=fp or sys.stdout, flush=True)

    return push


def sumggle_push() -> Push:
    """Return a function that hides events in standard output, in codes that terminals ignore. The name is spelled as in milabench."""
    return file_push(SmuggleWriter(sys.stdout))


def is_running_with_voir() -> bool:
    """Whether voir runs this script."""
    return current_overseer.get() is not None


def give_push() -> Push:
    """Return a function that sends events to voir if it runs this script, otherwise to standard output."""
    overseer = current_overseer.get()
    return file_push() if overseer is None else overseer.give


def earlystop_count() -> int:
    """Batches after which to stop: the sum of `VOIR_EARLYSTOP_COUNT` and `VOIR_EARLYSTOP_SKIP`."""
    return int(os.getenv("VOIR_EARLYSTOP_COUNT", "60")) + int(os.getenv("VOIR_EARLYSTOP_SKIP", "10"))


class CPUTimer:
    """A context manager that measures the seconds of a block."""

    def __enter__(self) -> CPUTimer:
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._end = time.perf_counter()

    def elapsed(self) -> float:
        """The measured seconds."""
        return self._end - self._begin


class _HostEvent:
    """An event for devices without device events."""

    def __init__(self, **options: Any) -> None:
        self._moment = 0.0

    def record(self) -> None:
        self._moment = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: _HostEvent) -> float:
        """Milliseconds until another event."""
        return 1000 * (end._moment - self._moment)


def _device_event() -> Callable[..., Any]:
    """The constructor of device events: those of CUDA if available."""
    torch = sys.modules.get("torch")
    return torch.cuda.Event if torch is not None and torch.cuda.is_available() else _HostEvent


class LazyMetricPusher:
    """Store values to report them later."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.delayed: list[Any] = []

    def record(self, *arguments: Any, **options: Any) -> None:
        """Store a value without waiting for the device."""
        self.delayed.append((arguments, options))

    def materialize(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The event for a value."""
        return dict(options)

    def push(self, pusher: Push) -> None:
        """Report all stored values."""
        for arguments, options in self.delayed:
            pusher(**self.materialize(*arguments, **options))
        self.delayed = []


class LazyLossPusher(LazyMetricPusher):
    """Store losses to report them later."""

    def record(self, loss: Any) -> None:
        """Store a loss: a tensor or a number."""
        super().record(loss.detach() if hasattr(loss, "detach") else loss)

    def materialize(self, loss: Any) -> dict[str, Any]:
        """The event for a loss."""
        return {"loss": loss.item() if hasattr(loss, "item") else loss, "task": self.task}


class TimedIterator:
    """Iterate over batches of a loader and time each from the previous one, waiting included; report rates at the end of epochs and of the run.

    Args:
        loader: Yields the batches.
        event_fn: Constructs device events; by default those of CUDA or the host.
        rank: Rank of this process; rank 0 reports.
        push: Receives events.
        device: Device for the sum of batch sizes over several processes.
        earlystop: Batches after which to stop.
        raise_stop_program: Raise StopProgram to stop.
        batch_size_fn: Returns the batch size; by default the length of the batch, or of its first part.
    """

    def __init__(
        self,
        loader: Any,
        event_fn: Callable[..., Any] | None = None,
        rank: int = 0,
        push: Push | None = None,
        device: Any = None,
        earlystop: int | None = -1,
        raise_stop_program: bool = False,
        batch_size_fn: Callable[[Any], int] | None = None,
    ) -> None:
        self.loader, self.task, self.device = loader, "train", device
        self.event_fn = event_fn or _device_event()
        self.message_push = push or file_push()
        self.early_stop = earlystop_count() if earlystop == -1 else earlystop
        self.raise_stop_program, self.batch_size_fn, self.rank = raise_stop_program, batch_size_fn, rank
        self.events: list[tuple[Any, Any, int]] = []
        self.total_obs = 0
        self._stopped = False

    @classmethod
    def with_sumggler(cls, *arguments: Any, push: Push | None = None, **options: Any) -> TimedIterator:
        """An iterator whose events are hidden in standard output."""
        return cls(*arguments, push=sumggle_push(), **options)

    @classmethod
    def with_stdout(cls, *arguments: Any, push: Push | None = None, **options: Any) -> TimedIterator:
        """An iterator whose events are lines of standard output."""
        return cls(*arguments, push=file_push(), **options)

    @classmethod
    def with_give(cls, *arguments: Any, push: Push | None = None, **options: Any) -> TimedIterator:
        """An iterator whose events go to voir."""
        return cls(*arguments, push=give_push(), **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        begin = self._event()
        for batch in self.loader:
            yield batch
            end = self._event()
            self.events.append((begin, end, self.deduce_batch_size(batch)))
            begin = end
            self.log_progress()
            if self.is_done() and not self._stopped:
                self._stopped = True
                break
        self._push()
        if self.is_done() and self.raise_stop_program:
            raise StopProgram

    def _event(self) -> Any:
        event = self.event_fn(enable_timing=True)
        event.record()
        return event

    def deduce_batch_size(self, batch: Any) -> int:
        """The number of instances in a batch."""
        if self.batch_size_fn is not None:
            return self.batch_size_fn(batch)
        try:
            return len(batch[0]) if len(batch) == 2 else len(batch)
        except (TypeError, KeyError):  # a number, or a mapping
            return 1

    def progress(self) -> int:
        """Number of batches so far."""
        return len(self.events) + self.total_obs

    def is_done(self) -> bool:
        """Whether to stop."""
        return self.early_stop is not None and self.progress() >= self.early_stop

    def on_iterator_stop_iterator(self) -> None:
        """Hook that is called before rates are reported."""

    def _push(self) -> None:
        if self.events:
            self.events[-1][1].synchronize()
        self.on_iterator_stop_iterator()
        for begin, end, size in self.events:
            seconds = begin.elapsed_time(end) / 1000
            if seconds > 0:
                self.message(rate=self._all(size) / seconds, units="items/s", task=self.task)
        self.total_obs += len(self.events)
        self.events = []

    def _all(self, size: int) -> int:
        """Number of instances over all processes."""
        distributed = sys.modules.get("torch.distributed")
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return size
        torch = sys.modules["torch"]
        total = torch.tensor([size], dtype=torch.int64, device=self.device)
        distributed.reduce(total, dst=0)
        return int(total.item())

    def log_progress(self) -> None:
        """Report progress."""
        if self.early_stop is not None:
            self.message(progress=(self.progress(), self.early_stop), task="early_stop")

    def message(self, **event: Any) -> None:
        """Report an event, in the process with rank 0."""
        if not self.rank:
            self.message_push(**event)
