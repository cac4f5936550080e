"""What the monitor sees of a running experiment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values


@pytest.mark.integration
def test_the_monitor_sees_cpu_and_memory(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = f"sleep 0.3; {sys.executable} -c 'import time; b=bytearray(50_000_000); e=time.time()+1.6\nwhile time.time()<e: pass'; true"
    dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pmonitor.frequency=10", check=True)
    found = values(logs(tmp_path)[0])
    assert len(found["results.use.time"]) >= 5
    assert max(found["results.use.cpu"]) > 30
    assert max(found["results.use.cpu"]) < 200  # one thread: what it used before it was found is not one sample's
    assert max(found["results.use.mem_res"]) > 50_000_000


@pytest.mark.integration
def test_the_monitor_sees_children_files_and_threads(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = (
        "import os, threading, time\n"
        "for _ in range(3): threading.Thread(target=time.sleep, args=(2,)).start()\n"
        f"f = open({str(tmp_path / 'data')!r}, 'wb')\n"
        "for _ in range(8):\n"
        "    f.write(bytes(1 << 20)); f.flush(); os.fsync(f.fileno()); time.sleep(0.2)\n"
    )
    (tmp_path / "program.py").write_text(program)
    body = f"{sys.executable} {tmp_path / 'program.py'} & {sys.executable} {tmp_path / 'program.py'} & wait"
    dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pmonitor.frequency=10", check=True)
    found = values(logs(tmp_path)[0])
    series = [found[f"results.use.{name}"] for name in ("time", "cpu", "mem_res", "mem_shrd", "threads", "io_write")]
    assert len({len(one) for one in series}) == 1
    assert max(found["results.use.threads"]) >= 9
    assert found["results.use.mem_res_peak"] == max(found["results.use.mem_res"])
    assert found["results.use.cpu_mean"] <= found["results.use.cpu_peak"]
    assert sum(found["results.use.io_write"]) >= 0
