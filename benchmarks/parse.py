"""Speed of reading logs: MB/s of `dlbs parse` compared with `grep -c '^__'` over the same files, the practical limit.

    python benchmarks/parse.py [LOGS]

Makes LOGS (10,000) log files of 200 lines, 60 of them parameters and 20 results, in a temporary directory. Each variant runs five times, alternating;
the least time of each counts, since other load only adds time.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmark_core.log import key_line
from dlbs.results.read.logs import read_logs
from dlbs.results.read.onelog import Reading

ROUNDS = 5
WORDS = [
    "loading",
    "epoch",
    "worker",
    "cache",
    "kernel",
    "shape",
    "stride",
    "tensor",
    "allocated",
    "reserved",
    "device",
    "stream",
    "event",
    "queue",
    "batch",
]


def write_logs(directory: Path, count: int) -> int:
    """Write log files like those of a sweep; return their size in bytes."""
    source = random.Random(1)
    fixed = [(f"pytorch.option_{n}", f"value {n}" if n % 3 else n) for n in range(45)]
    total = 0
    for number in range(count):
        own = [
            ("exp.model", f"model{number % 30}"),
            ("exp.replica_batch", 2 ** (number % 9)),
            ("exp.id", f"{number:016x}"),
            ("exp.log_file", f"logs/{number}.log"),
            *((f"exp.setting_{n}", (number >> n) % 4) for n in range(11)),
        ]
        times = [source.gauss(10, 0.3) for _ in range(20)]
        results = [("results.time_data", times), *((f"results.r{n}", source.random()) for n in range(19))]
        lines = [key_line(key, value) for key, value in (*fixed, *own)]
        lines += [f"[{n:4}] " + " ".join(source.choices(WORDS, k=9)) for n in range(119)]
        lines += [key_line(key, value) for key, value in (*results, ("exp.status", "ok"))]
        text = "\n".join(lines) + "\n"
        total += len(text)
        (directory / f"{number:06}.log").write_text(text)
    return total


def main() -> None:
    """Print one line for each variant."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as temporary:
        logs = Path(temporary) / "logs"
        logs.mkdir()
        size = write_logs(logs, count)
        root = str(logs)

        def grep() -> None:
            # Not to /dev/null: there, grep stops at the first match of each file.
            subprocess.run(["grep", "-r", "-c", "^__", root], stdout=subprocess.PIPE, check=True)

        def parse(**options: bool | int) -> Callable[[], None]:
            def read() -> None:
                reading = Reading()
                assert sum(map(len, read_logs([root], reading, **options))) == count  # type: ignore[arg-type]
                assert not reading.findings

            return read

        ways: dict[str, Callable[[], None]] = {
            "grep -c '^__'": grep,
            "one process": parse(jobs=1),
            f"{os.cpu_count()} processes": parse(jobs=os.cpu_count() or 1),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for read in ways.values():
            read()  # fills the page cache
        for _ in range(ROUNDS):
            for way, read in ways.items():
                start = time.perf_counter()
                read()
                seconds[way].append(time.perf_counter() - start)
        limit = min(seconds["grep -c '^__'"])
        print(f"{count:,} logs, {size / 1e6:.0f} MB")
        for way, measured in seconds.items():
            best = min(measured)
            print(f"{way:28} {best:6.3f} s {size / best / 1e6:8.0f} MB/s {best / limit:6.2f} × grep")


if __name__ == "__main__":
    main()
