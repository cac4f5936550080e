"""Queue, workers, their failures, and queries that are rejected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from benchmark_core.exits import BenchmarkError
from pytorch_benchmarks.serving.system import BatchListener, Query, Queue, System
from tests.waiting import PATIENCE, wait_until


class Written:
    """Where answers go, written down."""

    def __init__(self) -> None:
        self.first: list[int] = []
        self.done: list[tuple[int, int]] = []

    def first_token(self, responses: Sequence[int]) -> None:
        self.first += responses

    def complete(self, responses: Sequence[int], tokens: Sequence[int]) -> None:
        self.done += zip(responses, tokens, strict=True)


class Echo:
    """Answers each sample with as many tokens as its number; `before` runs first."""

    def __init__(self, before: Callable[[Sequence[int]], None] = lambda samples: None) -> None:
        self.before = before
        self.threads: set[int] = set()

    def warm_up(self) -> None:
        self.threads.add(threading.get_ident())

    def answer(self, samples: Sequence[int], progress: BatchListener) -> None:
        self.threads.add(threading.get_ident())
        self.before(samples)
        progress.first_token(range(len(samples)))
        for position, sample in reversed(list(enumerate(samples))):
            if sample:
                progress.done([position], [sample])

    def close(self) -> None:
        pass


def system_of(*backends: Echo, **options: object) -> tuple[System, Written]:
    written = Written()
    queue = Queue(max_batch=4, limit=int(str(options.pop("limit", 0))))
    makers = [lambda backend=backend: backend for backend in backends]
    return System(written, queue, makers, **options), written  # type: ignore[arg-type]


@pytest.mark.parametrize("inline", [False, True])
def test_queries_are_answered_each_when_it_is_done(inline: bool) -> None:
    system, written = system_of(Echo(), inline=inline)
    pace = system.start()
    assert pace.one > 0
    system.issue([10, 11, 12, 13, 14], [3, 0, 2, 5, 4])
    wait_until(lambda: len(written.done) == 5)
    assert written.first == [10, 11, 12, 13, 14]
    assert written.done == [(13, 5), (12, 2), (10, 3), (11, 0), (14, 4)], "what nobody spoke of is done at the end"
    assert [(query.number, query.sample, query.tokens) for query in system.queries] == [
        (0, 3, 3),
        (1, 0, 0),
        (2, 2, 2),
        (3, 5, 5),
        (4, 4, 4),
    ]
    assert all(query.arrival <= query.taken <= query.first_token <= query.done for query in system.queries)
    system.stop()


def test_a_backend_is_used_by_one_thread_alone() -> None:
    """Threads of the CPU belong to the thread that computes with them: warming up another one would be in vain."""
    one, other = Echo(), Echo()
    system, written = system_of(one, other)
    system.start()
    system.issue(range(40), [1] * 40)
    wait_until(lambda: len(written.done) == 40)
    system.stop()
    assert len(one.threads) == len(other.threads) == 1
    assert one.threads.isdisjoint(other.threads)


@pytest.mark.parametrize("inline", [False, True])
def test_a_backend_that_cannot_start_is_told_at_once(inline: bool) -> None:
    def refuse(samples: Sequence[int]) -> None:
        raise BenchmarkError("no server is there")

    system, _ = system_of(Echo(refuse), inline=inline)
    with pytest.raises(BenchmarkError, match="no server is there"):
        system.start()


def test_the_first_failure_ends_the_run() -> None:
    started = False

    def fail(samples: Sequence[int]) -> None:
        if started:
            raise BenchmarkError("the server is gone")

    system, _ = system_of(Echo(fail))
    system.start()
    started = True
    system.issue([1], [1])
    wait_until(system.ended.is_set)
    assert str(system.failure) == "the server is gone"


def test_rejected_queries_are_given_back_late_and_after_all_others_were_asked_for() -> None:
    go = threading.Event()
    started = False

    def wait(samples: Sequence[int]) -> None:
        if started:
            go.wait()

    system, written = system_of(Echo(wait), limit=2, late_after=0.05)
    system.start()
    started = True
    system.issue([1], [1])
    wait_until(lambda: system.queries[0].taken)
    for response in (2, 3, 4, 5):
        system.issue([response], [1])
    assert [query.is_rejected for query in system.queries] == [False, False, False, True, True]
    go.set()
    wait_until(lambda: len(written.done) == 3)
    system.flush()
    wait_until(lambda: len(written.done) == 5)
    assert written.done[3:] == [(4, 0), (5, 0)]
    assert all(query.done - query.arrival >= 0.05 for query in system.queries if query.is_rejected)
    system.stop()


@pytest.mark.parametrize("inline", [False, True])
class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queries(count: int, arrival: float = 0.0) -> list[Query]:
    return [Query(number, 100 + number, number, arrival) for number in range(count)]


def taken_by_a_thread(queue: Queue) -> list[list[Query]]:
    """What another thread takes, which may have to wait for it."""
    taken: list[list[Query]] = []
    threading.Thread(target=lambda: taken.append(queue.take()), daemon=True).start()
    return taken


def test_without_a_wait_a_free_worker_takes_what_there_is() -> None:
    queue = Queue(max_batch=4)
    queue.put(queries(6))
    assert [[query.number for query in queue.take()] for _ in range(2)] == [[0, 1, 2, 3], [4, 5]]
    assert queue.batch_sizes == {4: 1, 2: 1}
    assert queue.lengths == {6: 1, 2: 1}


LONG = 10 * PATIENCE  # seconds that no test lasts


def test_a_full_batch_does_not_wait() -> None:
    queue = Queue(max_batch=2, max_wait=LONG, clock=Clock())
    queue.put(queries(2))
    assert len(queue.take()) == 2


def test_a_batch_waits_until_its_oldest_query_has_waited_enough() -> None:
    clock = Clock()
    queue = Queue(max_batch=8, max_wait=5.0, clock=clock)
    queue.put(queries(1, arrival=0.0))
    clock.now = 4.0
    queue.put(queries(1, arrival=4.0))
    clock.now = 5.0
    assert len(queue.take()) == 2


def test_a_batch_waits_for_others() -> None:
    queue = Queue(max_batch=2, max_wait=LONG, clock=Clock())
    queue.put(queries(1))
    taken = taken_by_a_thread(queue)
    queue.put(queries(1))
    wait_until(lambda: taken)
    assert len(taken[0]) == 2


def test_what_waits_need_not_wait_when_no_more_comes() -> None:
    queue = Queue(max_batch=8, max_wait=LONG, clock=Clock())
    queue.put(queries(3))
    taken = taken_by_a_thread(queue)
    queue.flush()
    wait_until(lambda: taken)
    assert len(taken[0]) == 3


@pytest.mark.parametrize(("limit", "rejected"), [(0, []), (5, []), (3, [3, 4]), (1, [1, 2, 3, 4])])
def test_a_full_queue_rejects_the_last(limit: int, rejected: list[int]) -> None:
    queue = Queue(max_batch=8, limit=limit)
    assert [query.number for query in queue.put(queries(5))] == rejected
    assert len(queue.take()) == 5 - len(rejected)
    assert not queue.put(queries(1)), "there is room again"


def test_workers_end_when_the_queue_is_closed() -> None:
    queue = Queue(max_batch=8, max_wait=LONG)
    taken = taken_by_a_thread(queue)
    queue.close()
    wait_until(lambda: taken)
    assert taken == [[]]
