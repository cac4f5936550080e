"""The system under test: receives queries from LoadGen, batches them in a queue, distributes them to workers, and returns the answers."""

from __future__ import annotations

import threading
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Protocol

from pytorch_benchmarks.options import BenchmarkOptions

_FEWEST_TIMES, _MOST_TIMES, _TIMING = 3, 100, 0.2  # measurements of the time of a batch; the last is in seconds
_USUAL_WARMUP = 10  # batches of each size, where the options say `auto`


@dataclass(slots=True, eq=False)
class Query:
    """A requested sample. A query of LoadGen may have several samples; each is a separate object here.

    Attributes:
        number: In order of arrival, from 0, as in LoadGen's trace.
        response: LoadGen's identifier.
        sample: Index in the library.
        arrival: Time of arrival, in seconds of `time.perf_counter`, as all times here.
        taken: When a worker started to process it.
        first_token: When its first token was available; 0 without tokens.
        done: When its answer was complete.
        tokens: Number of tokens of the answer.
        is_rejected: Whether it was not processed because too many others waited.
    """

    number: int
    response: int
    sample: int
    arrival: float
    taken: float = 0.0
    first_token: float = 0.0
    done: float = 0.0
    tokens: int = 0
    is_rejected: bool = False


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


class BatchListener(Protocol):
    """Receives the progress of a batch. Positions are those of samples in the batch."""

    def first_token(self, positions: Sequence[int]) -> None:
        """Their first tokens are available."""

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        """Their answers are complete; `tokens` has the number of tokens of each."""


class Unwatched:
    """Ignores the progress of batches that are not measured."""

    def first_token(self, positions: Sequence[int]) -> None:
        pass

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        pass


class Backend(Protocol):
    """Answers batches, one at a time. Each worker has a separate backend."""

    def warm_up(self) -> None:
        """Process batches that are not measured; called by the thread that calls `answer`."""

    def answer(self, samples: Sequence[int], progress: BatchListener) -> None:
        """Answer a batch of samples; those not reported to `progress` are complete when this returns.

        Raises:
            BenchmarkError: The answer is missing or invalid.
        """

    def close(self) -> None:
        """End the processes and connections of this backend."""


class Answers(Protocol):
    """The receiver of answers: LoadGen."""

    def first_token(self, responses: Sequence[int]) -> None:
        """The first tokens of these responses are available."""

    def complete(self, responses: Sequence[int], tokens: Sequence[int]) -> None:
        """These responses are complete; `tokens` has the number of tokens of each."""


@dataclass(frozen=True, slots=True)
class Service:
    """The model or server under load.

    Attributes:
        make_backends: Functions that create the backends, one for each worker.
        has_tokens: Whether it generates text.
        prompt_tokens: Number of tokens of each sample's prompt; empty if it does not generate text.
    """

    make_backends: Sequence[Callable[[], Backend]]
    has_tokens: bool
    prompt_tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per batch without load: of one sample, and of a full batch."""

    one: float
    full: float


class System:
    """A queue and its workers.

    Args:
        answers: Receives the answers.
        queue: Holds waiting queries and forms batches.
        make_backends: Functions that create the backends, one for each worker; each is called by the thread that uses the backend.
        late_after: Seconds after its arrival at which a rejected query is returned, so that it counts as too late.
        inline: Answer in the thread that issues queries, with the only backend, because LoadGen is sequential.

    Attributes:
        queries: All queries of the run, in order of arrival.
        workers: Their number.
        failure: The error that ended the run, if any.
        ended: Set when the run has ended, with or without an error.
    """

    def __init__(
        self,
        answers: Answers,
        queue: Queue,
        make_backends: Sequence[Callable[[], Backend]],
        *,
        late_after: float = 0.0,
        inline: bool = False,
    ) -> None:
        self.answers, self.queue = answers, queue
        self.queries: list[Query] = []
        self.workers = len(make_backends)
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self._make_backends, self._late_after, self._inline = make_backends, late_after, inline
        self._rejected: list[Query] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._own: Backend | None = None
        self._pace: Pace | None = None
        self._ready = threading.Semaphore(0)

    def start(self) -> Pace:
        """Create the backends and warm them up one after the other, so that they do not slow each other down.

        A system that answers inline must be started by the thread that issues queries, because OpenMP threads belong to the thread that computes
        with them. Further calls only return the time of a batch.

        Raises:
            BaseException: The error of a backend.
        """
        if self._pace is not None:
            return self._pace
        if self._inline:
            self._own = self._make_backends[0]()
            self._pace = self._warmed_up(self._own)
            return self._pace
        for make in self._make_backends:
            thread = threading.Thread(target=self._work, args=[make], daemon=True)
            thread.start()
            self._threads.append(thread)
            self._ready.acquire()
            if self.failure is not None:
                raise self.failure
        assert self._pace is not None
        return self._pace

    def _warmed_up(self, backend: Backend) -> Pace:
        backend.warm_up()
        return Pace(_seconds(backend, 1), _seconds(backend, self.queue.max_batch))

    def reset(self) -> None:
        """Discard the queries of the previous run."""
        self.queries = []
        self.queue.reset()
        self.ended.clear()

    @property
    def samples_per_second(self) -> float:
        """Throughput of the last run, from the first query to the last answer."""
        return len(self.queries) / (max(query.done for query in self.queries) - self.queries[0].arrival)

    def issue(self, responses: Sequence[int], samples: Sequence[int]) -> None:
        """Accept samples that LoadGen requests."""
        now = perf_counter()
        number = len(self.queries)
        queries = [
            Query(number + at, response, sample, now)
            for at, (response, sample) in enumerate(zip(responses, samples, strict=True))
        ]
        self.queries += queries
        if self._own is not None:
            self._answer_here(self._own, queries)
            return
        rejected = self.queue.put(queries)
        if rejected:
            self._reject(rejected)

    def flush(self) -> None:
        """LoadGen requests no more samples and waits for all answers."""
        self.queue.flush()
        if self._rejected:
            threading.Thread(target=self._give_rejected_back, daemon=True).start()

    def stop(self) -> None:
        """End the workers; called when all queries are complete."""
        self.queue.close()
        for thread in self._threads:
            thread.join()
        if self._own is not None:
            self._own.close()

    def fail(self, error: BaseException) -> None:
        """End the run because of an error."""
        with self._lock:
            self.failure = self.failure or error
        self.ended.set()

    def _answer_here(self, backend: Backend, queries: Sequence[Query]) -> None:
        size = self.queue.max_batch
        try:
            for begin in range(0, len(queries), size):
                batch = queries[begin : begin + size]
                self.queue.batch_sizes[len(batch)] += 1
                self.queue.lengths[len(queries) - begin] += 1
                self._answer(backend, batch)
        except BaseException as error:
            self.fail(error)
            # LoadGen cannot be stopped, and an exception must not pass through it: its thread waits until the program ends.
            threading.Event().wait()

    def _work(self, make: Callable[[], Backend]) -> None:
        """Main function of a worker thread."""
        try:
            backend = make()
            pace = self._warmed_up(backend)
            self._pace = self._pace or pace
            self._ready.release()
            while batch := self.queue.take():
                self._answer(backend, batch)
            backend.close()
        except BaseException as error:
            self.fail(error)
            self._ready.release()

    def _answer(self, backend: Backend, batch: Sequence[Query]) -> None:
        now = perf_counter()
        for query in batch:
            query.taken = now
        progress = _Progress(self.answers, batch)
        backend.answer([query.sample for query in batch], progress)
        progress.finish()

    def _reject(self, queries: Sequence[Query]) -> None:
        """Keep rejected queries and return them when they are late: an immediate answer would count as fast."""
        for query in queries:
            query.is_rejected = True
        self._rejected += queries

    def _give_rejected_back(self) -> None:
        late, self._rejected = self._rejected, []
        left = max(query.arrival for query in late) + self._late_after - perf_counter()
        if left > 0:
            sleep(left)
        now = perf_counter()
        for query in late:
            query.done = now
        self.answers.complete([query.response for query in late], [0] * len(late))


def _seconds(backend: Backend, size: int) -> float:
    """Minimum time of several batches of the first sample."""
    times = array("d")
    end = perf_counter() + _TIMING
    while len(times) < _FEWEST_TIMES or (perf_counter() < end and len(times) < _MOST_TIMES):
        begin = perf_counter()
        backend.answer([0] * size, Unwatched())
        times.append(perf_counter() - begin)
    return min(times)


class _Progress:
    """Records the progress of a batch in its queries and reports it."""

    def __init__(self, answers: Answers, batch: Sequence[Query]) -> None:
        self._answers, self._batch = answers, batch

    def first_token(self, positions: Sequence[int]) -> None:
        now = perf_counter()
        queries = [self._batch[position] for position in positions]
        for query in queries:
            query.first_token = now
        self._answers.first_token([query.response for query in queries])

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        now = perf_counter()
        queries = [self._batch[position] for position in positions]
        counts = list(tokens) or [0] * len(queries)
        for query, count in zip(queries, counts, strict=True):
            query.done, query.tokens = now, count
        self._answers.complete([query.response for query in queries], counts)

    def finish(self) -> None:
        """Complete the remaining queries."""
        left = [position for position, query in enumerate(self._batch) if not query.done]
        if left:
            self.done(left)


def max_batch(options: BenchmarkOptions) -> int:
    """Maximum number of samples in a batch."""
    return options.serving_max_batch or options.batch_size


def warmup_batches(options: BenchmarkOptions) -> int:
    """Number of warm-up batches of each size."""
    return _USUAL_WARMUP if options.num_warmup_batches is None else options.num_warmup_batches
