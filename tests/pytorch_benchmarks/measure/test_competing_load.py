"""What the operating system did while batches were timed."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

import pytest

from pytorch_benchmarks.measure.competing_load import CompetingLoad


def touch_fresh_memory(size: int) -> None:
    """Have so many bytes of pages that the process did not have before, and give them back."""
    with mmap.mmap(-1, size + 4096) as memory:
        memory.write(b"x" * size)


def test_page_faults_are_counted_for_each_batch() -> None:
    load = CompetingLoad()
    load.start()
    touch_fresh_memory(64 << 20)
    load.stop()
    found = load.metrics(batches=2)
    assert found["results.page_faults"] > 100  # type: ignore[operator]
    assert found["results.competing_load"] is None  # too short to tell


@pytest.mark.integration
def test_a_neighbour_is_noticed_and_a_child_is_not_one() -> None:
    spin = "import os, time\nprint(flush=True)\nend = time.time() + 30\nwhile time.time() < end: pass"

    def competing(detached: bool) -> float:
        command = [sys.executable, "-c", spin]
        if detached:  # a process whose parent is not this one
            command = ["sh", "-c", f'setsid {sys.executable} -c "$0" & echo $!', spin]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        first = child.stdout.readline().strip()
        try:
            time.sleep(0.3)
            load = CompetingLoad()
            load.start()
            time.sleep(1.2)
            load.stop()
        finally:
            os.kill(int(first) if detached else child.pid, 9)
            child.wait()
        found = load.metrics(1)["results.competing_load"]
        assert found is not None
        return found

    processors = len(os.sched_getaffinity(0))
    assert competing(detached=True) > 0.5 / processors
    assert competing(detached=False) < 0.5 / processors
