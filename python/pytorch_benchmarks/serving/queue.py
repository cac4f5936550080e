"""The queue of waiting queries, and dynamic batching."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from time import perf_counter

from pytorch_benchmarks.serving.query import Query

__all__ = ["Queue"]


class Queue:
    """First come, first served, in batches.

    A batch is ready when it is full, when its oldest query has waited for `max_wait`, or when no more queries will arrive. With a `max_wait` of 0, a
    free worker takes all waiting queries, up to a full batch.

    Args:
        max_batch: Maximum number of queries in a batch.
        max_wait: Maximum time that a query waits for others to fill its batch, in seconds.
        limit: Maximum number of waiting queries; further ones are rejected. 0 is no limit.
        clock: Returns the time in seconds.

    Attributes:
        batch_sizes: Number of batches of each size.
        lengths: Number of times that a worker found the queue at each length, including its batch.
        is_flushed: Whether no more queries arrive in this run.
    """

    def __init__(
        self, max_batch: int, max_wait: float = 0.0, limit: int = 0, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.max_batch, self.max_wait, self.limit, self._clock = max_batch, max_wait, limit, clock
        self._waiting: deque[Query] = deque()
        self._changed = threading.Condition()
        self.is_flushed = self._is_closed = False
        self.batch_sizes: Counter[int] = Counter()
        self.lengths: Counter[int] = Counter()

    def put(self, queries: Sequence[Query]) -> Sequence[Query]:
        """Add queries; returns those that are rejected because the queue is full."""
        with self._changed:
            self.is_flushed = False
            room = self.limit - len(self._waiting) if self.limit else len(queries)
            accepted = queries[: max(0, room)]
            self._waiting.extend(accepted)
            if len(accepted) == 1:
                self._changed.notify()
            elif accepted:
                self._changed.notify_all()
        return queries[len(accepted) :]

    def take(self) -> list[Query]:
        """Wait for the next batch; it is empty if the queue was closed."""
        with self._changed:
            while True:
                if self._is_closed:
                    return []
                if self._waiting:
                    left = self._waiting[0].arrival + self.max_wait - self._clock()
                    if left <= 0 or self.is_flushed or len(self._waiting) >= self.max_batch:
                        break
                    self._changed.wait(left)
                else:
                    self._changed.wait()
            self.lengths[len(self._waiting)] += 1
            size = min(self.max_batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            self.batch_sizes[size] += 1
            if self._waiting:
                self._changed.notify()
            return batch

    @property
    def taken(self) -> int:
        """Queries that workers have taken, since the last `reset`."""
        return sum(size * count for size, count in list(self.batch_sizes.items()))  # a copy: workers go on counting

    def reset(self) -> None:
        """Reset the counters for another run."""
        self.batch_sizes, self.lengths = Counter(), Counter()

    def flush(self) -> None:
        """Announce that no more queries arrive in this run: waiting queries need not wait for a full batch."""
        with self._changed:
            self.is_flushed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Make `take` return empty batches, so that workers end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
