"""The cost of the monitor: CPU time of `dlbs run` with and without it, while an experiment of several processes sleeps.

python benchmarks/monitor.py [--seconds 10] [--interval 0.1] [--processes 4]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent


def share(directory: Path, seconds: float, interval: float, processes: int) -> float:
    """CPU time of `dlbs run` per second in percent, while the experiment runs."""
    body = f"for i in $(seq {processes}); do sleep {seconds + 3} & done; wait"
    template = directory / "own.sh"
    template.write_text('{% extends "base.sh" %}{% block benchmark %}\n' + body + "\n{% endblock %}")
    command = [sys.executable, "-m", "dlbs", "run", "-q", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus="]
    command += [f"-Pdummy.launcher={template}", f"-Pmonitor.interval={interval}", "-Pexp.rerun=always"]
    run = subprocess.Popen(command, cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT)})
    time.sleep(1.5)
    process = psutil.Process(run.pid)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    run.wait()
    return 100 * (after.user + after.system - before.user - before.system) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--interval", type=float, default=0.1)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        without = share(Path(name), options.seconds, 0, options.processes)
        watched = share(Path(name), options.seconds, options.interval, options.processes)
    print(f"without the monitor     {without:.2f} % of a CPU")
    print(f"a sample each {options.interval:g} s   {watched:.2f} % of a CPU, {options.processes + 1} processes")


if __name__ == "__main__":
    main()
