"""What the operating system did while batches were timed."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from benchmark_core.load import CompetingLoad
from tests.waiting import wait_until


def touch_fresh_memory(size: int) -> None:
    """Have so many bytes of pages that the process did not have before, and give them back."""
    with mmap.mmap(-1, size + 4096) as memory:
        with suppress(OSError):  # of a kernel without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        memory.write(b"x" * size)


def test_page_faults_are_counted_for_each_batch() -> None:
    load = CompetingLoad()
    load.start()
    touch_fresh_memory(64 << 20)
    load.stop()
    found = load.metrics(batches=2)
    assert found["results.page_faults"] > 100  # type: ignore[operator]


def test_several_intervals_count_together_and_what_is_between_them_does_not() -> None:
    load = CompetingLoad()
    for _ in range(2):
        load.start()
        touch_fresh_memory(8 << 20)
        load.stop()
        touch_fresh_memory(64 << 20)
    pages = (8 << 20) / mmap.PAGESIZE
    assert 2 * pages <= load.metrics(batches=1)["results.page_faults"] < 10 * pages  # type: ignore[operator]


def test_an_interval_that_is_too_short_has_no_competing_load() -> None:
    elapsed = 1.0
    while elapsed > 0.4:  # it was, unless this process had to wait for a processor
        load, begin = CompetingLoad(), time.perf_counter()
        load.start()
        load.stop()
        elapsed = time.perf_counter() - begin
    assert load.metrics(1)["results.competing_load"] is None


def busy_seconds() -> float:
    """What the processors of this process have worked, for anybody."""
    allowed = os.sched_getaffinity(0)
    times = [one for number, one in enumerate(psutil.cpu_times(percpu=True)) if number in allowed]
    return sum(one.user + one.nice + one.system + one.irq + one.softirq + one.steal for one in times)


@contextmanager
def spinning(detached: bool) -> Iterator[psutil.Process]:
    """A process that uses a processor: a child of this one, or one that is not."""
    spin = "print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", spin]
    if detached:
        command = ["sh", "-c", f'setsid {sys.executable} -c "$0" & echo $!', spin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline().strip()
        process = psutil.Process(int(first) if detached else child.pid)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.integration
@pytest.mark.parametrize("detached", [True, False], ids=["neighbour", "child"])
def test_a_neighbour_is_noticed_and_a_child_is_not_one(detached: bool) -> None:
    """Counted in seconds of the processors that it really got, whatever else runs on this machine."""

    def used() -> float:
        return sum(process.cpu_times()[:2])

    load = CompetingLoad()
    with spinning(detached) as process:
        busy, begin = busy_seconds(), time.perf_counter()
        load.start()
        before = used()
        wait_until(lambda: used() - before > 1.0)
        by_it = used() - before
        load.stop()
        seconds, busy = time.perf_counter() - begin, busy_seconds() - busy
    share = load.metrics(1)["results.competing_load"]
    assert share is not None
    by_others = share * seconds * len(os.sched_getaffinity(0))
    if detached:
        assert by_others > by_it / 2
    else:
        assert by_others < busy - by_it / 2
