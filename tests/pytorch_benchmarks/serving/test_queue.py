"""Which queries become a batch, and when."""

from __future__ import annotations

import threading

import pytest

from pytorch_benchmarks.serving.query import Query
from pytorch_benchmarks.serving.queue import Queue
from tests.waiting import PATIENCE, wait_until

LONG = 10 * PATIENCE  # seconds that no test lasts


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
