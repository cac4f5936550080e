"""The monitor: what it sees of an experiment, samples at its interval, and one for an experiment that is too short for any."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dlbs.machine.monitor import PROCESS_SERIES, Monitor
from dlbs.machine.resources import reap
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values

pytestmark = pytest.mark.integration
IDLE = "import time; time.sleep(100_000)"


@contextmanager
def program(code: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        yield process
        process.kill()


def watched(process: subprocess.Popen[bytes], monitor: Monitor, seconds: float) -> dict[str, Any]:
    """What a monitor logs of a process that is watched for a time and then ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(max(0.0, min(monitor.sample_if_due(), end) - time.monotonic()))
    process.kill()
    monitor.end(reap(process, block=True))
    return monitor.results()


def until_seen(code: str, interval: float, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What a monitor logs of a program that is watched for as long as this machine needs to show something of it."""
    for seconds in (0.8, 8.0, 80.0):
        with program(code) as process:
            monitor = Monitor(interval)
            monitor.watch(process.pid)
            found = watched(process, monitor, seconds)
        assert monitor.results() == found
        if seen(found):
            return found
    raise AssertionError(found)


def test_samples_are_an_interval_apart() -> None:
    times = until_seen(IDLE, 0.2, lambda found: len(found["results.use.time"]) >= 3)["results.use.time"]
    assert all(later - earlier > 0.19 for earlier, later in itertools.pairwise(times))


def test_a_run_too_short_for_a_sample_gets_one_at_its_end() -> None:
    begin = time.time()
    code = "b = bytearray(50_000_000)\nwhile True: pass"
    found = until_seen(code, 100_000, lambda found: max(found["results.use.mem_res"], default=0) > 50_000_000)
    assert len(found["results.use.time"]) == 1
    assert begin - 0.001 < found["results.use.time"][0] < time.time() + 0.001  # it is rounded
    assert found["results.use.cpu"][0] > 0
    assert found["results.use.cpu_mean"] == found["results.use.cpu_peak"] == found["results.use.cpu"][0]
    assert {len(found[f"results.use.{name}"]) for name in ("cpu", "mem_res", "threads", "io_read", "io_write")} == {1}


def test_a_run_that_ends_before_the_second_look_has_a_sample() -> None:
    monitor = Monitor(100_000)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        monitor.watch(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        monitor.end(reap(process, block=True))
    found = monitor.results()
    assert {len(found[f"results.use.{name}"]) for name in ("time", *PROCESS_SERIES)} == {1}
    assert 0 < found["results.use.mem_res"][0] < 30_000_000  # that of cat, not of this process
    assert found["results.use.threads"] == [1]
    assert found["results.use.cpu_mean"] == found["results.use.cpu"][0] >= 0


def test_what_was_used_between_the_last_look_and_the_end_counts() -> None:
    monitor = Monitor(100_000)
    code = "import time; input(); begin = time.process_time()\nwhile time.process_time() - begin < 0.3: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        begin = time.monotonic()
        monitor.watch(process.pid)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        usage = reap(process, block=True)
        monitor.end(usage)
        seconds = time.monotonic() - begin
    assert usage is not None
    assert usage.ru_utime + usage.ru_stime >= 0.3
    assert monitor.results()["results.use.cpu"][0] > 0.9 * 100 * 0.3 / seconds  # clocks have ticks of 10 ms


def test_the_end_of_a_process_is_seen_once() -> None:
    with subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert reap(process) is None
        assert process.returncode is None
        process.stdin.close()
        assert reap(process, block=True) is not None
        assert process.returncode == 7
        assert process.wait() == 7


@pytest.mark.parametrize("executor", ["local", "tests.executors.nohup_executor:NohupExecutor", "slurm"])
def test_an_experiment_of_milliseconds_has_a_sample(
    executor: str, request: pytest.FixtureRequest, dlbs: RunDlbs, tmp_path: Path
) -> None:
    environment = request.getfixturevalue("cluster").environment if executor == "slurm" else {}
    flags = ("-Vexp.seed=[1,2,3]", "-Pmonitor.interval=5", "--executor", executor)
    dlbs("run", *DUMMY, *flags, check=True, **environment)
    for log in logs(tmp_path):
        found = values(log)
        assert {len(found[f"results.use.{name}"]) for name in ("time", *PROCESS_SERIES)} == {1}
        assert found["results.use.threads"][0] >= 1


def test_a_run_that_has_samples_gets_no_other() -> None:
    times = until_seen(IDLE, 0.3, lambda found: bool(found["results.use.time"]))["results.use.time"]
    assert times[-1] - times[0] >= 0.29 * (len(times) - 1)  # one at the end would be nearer


@pytest.mark.parametrize(("interval", "is_on"), [(0, False), ("", False), (0.5, True)])
def test_the_interval_turns_it_on(interval: Any, is_on: bool) -> None:
    assert (Monitor.of({"monitor.interval": interval}) is not None) == is_on


def test_the_monitor_sees_cpu_and_memory(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = (
        "import time; b = bytearray(50_000_000); begin = time.time()\n"
        "while time.process_time() < 1.2: pass\n"
        'print("__results.elapsed__=", time.time() - begin)'
    )
    body = f"{sys.executable} -c '{program}'"
    dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pmonitor.interval=0.1", check=True)
    found = values(logs(tmp_path)[0])
    assert len(found["results.use.time"]) >= 5
    assert found["results.use.cpu_peak"] > 0.6 * 100 * 1.2 / found["results.elapsed"]  # the most is more than the mean
    assert max(found["results.use.cpu"]) < 200  # one thread: what it used before it was found is not one sample's
    assert max(found["results.use.mem_res"]) > 50_000_000


def test_the_monitor_sees_children_files_and_threads(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = (
        "import glob, os, threading, time\n"
        "over = threading.Event()\n"
        "for _ in range(3): threading.Thread(target=over.wait).start()\n"
        "open(f'here.{os.getpid()}', 'w')\n"
        "while len(glob.glob('here.*')) < 2: time.sleep(0.02)\n"
        f"f = open({str(tmp_path / 'data')!r}, 'wb')\n"
        "for _ in range(8):\n"
        "    f.write(bytes(1 << 20)); f.flush(); os.fsync(f.fileno()); time.sleep(0.2)\n"
        "over.set()\n"
    )
    (tmp_path / "program.py").write_text(program)
    body = f"{sys.executable} {tmp_path / 'program.py'} & {sys.executable} {tmp_path / 'program.py'} & wait"
    dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pmonitor.interval=0.1", check=True)
    found = values(logs(tmp_path)[0])
    series = [found[f"results.use.{name}"] for name in ("time", "cpu", "mem_res", "mem_shrd", "threads", "io_write")]
    assert len({len(one) for one in series}) == 1
    assert max(found["results.use.threads"]) >= 9
    assert found["results.use.mem_res_peak"] == max(found["results.use.mem_res"])
    assert found["results.use.cpu_mean"] <= found["results.use.cpu_peak"]
    assert sum(found["results.use.io_write"]) >= 0
