"""Models written for TorchBench beside the suite's own way of timing them, in turn, each in a process of its own.

    python benchmarks/torchbench.py DIRECTORY [DIRECTORY ...] [--rounds 8] [--batches 10] [--batch_size 4] [--phases training inference]

The other side does what the suite's run.py does: it makes the model, runs three batches to warm up, and takes the wall-clock time of each further one, whose median it
prints. Neighbours on the machine can only add to a time, so the ratio of the fastest batches is shown beside that of the medians. Both sides have the allocator as the
system has it (runtime.malloc=system), the same number of threads and the same batches. Each round runs both in a random order and gives one ratio; the ratio of all
rounds and its interval are those of `dlbs compare` for runs in rounds (docs/statistics.md).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from dlbs.results.statistics.signed_ranks import is_enough, signed_rank_interval

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "python" / "pytorch_benchmarks" / "benchmarks.py"
WARMUP = 3  # batches; what run.py does
CONFIDENCE = 0.95
TESTS = {"training": "train", "inference": "eval"}


def as_the_suite(directory: Path, test: str, batch_size: int, batches: int) -> None:
    """Print the times of batches in ms, measured as run.py does."""
    sys.path.insert(0, str(ROOT / "python"))
    import torch

    from pytorch_benchmarks.torchbench.loader import load_class, make

    made = make(load_class(directory), test, "cpu", batch_size)
    times = []
    with torch.set_grad_enabled(test == "train"):
        for _ in range(WARMUP):
            made.invoke()
        for _ in range(batches):
            start = time.time_ns()
            made.invoke()
            times.append((time.time_ns() - start) / 1e6)
    print(f"__results.time_data__= {json.dumps(times)}")


def batch_times(command: list[str]) -> list[float]:
    """The times of batches in ms that a program logs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("__results.time_data__=")]
    if done.returncode or not lines:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    times: list[float] = json.loads(lines[-1].partition("=")[2])
    return times


def compare(directory: Path, phase: str, batch_size: int, batches: int, rounds: int) -> str:
    """A row: throughputs of both sides in instances per second, and the ratio with its interval."""
    given = ["--num_warmup_batches", str(WARMUP), "--num_batches", str(batches), "--batch_size", str(batch_size)]
    given += ["--forward_only", str(phase == "inference").lower(), "--passes", "none"]
    words = [str(directory), TESTS[phase], str(batch_size), str(batches)]
    sides = {
        "suite": [sys.executable, __file__, "--as_the_suite", *words],
        "ours": [sys.executable, str(PROGRAM), "--pack", str(directory), *given],
    }
    found: dict[str, list[list[float]]] = {name: [] for name in sides}
    order = random.Random(21)
    for _ in range(rounds):
        for name in order.sample(list(sides), 2):
            found[name].append(batch_times(sides[name]))
    row = f"{directory.name + ', ' + phase:30}"
    row += "".join(
        f"{1000 * batch_size / statistics.median(map(statistics.median, found[name])):9.4g}" for name in sides
    )
    for statistic in (statistics.median, min):
        # A throughput is the inverse of a time.
        suite, ours = ([float(statistic(times)) for times in found[name]] for name in sides)
        estimated = signed_rank_interval(suite, ours, CONFIDENCE)
        assert estimated is not None
        ratio, interval = estimated
        row += f"{ratio:8.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    return row


def main() -> None:
    if sys.argv[1:2] == ["--as_the_suite"]:
        directory, test, batch_size, batches = sys.argv[2:]
        as_the_suite(Path(directory), test, int(batch_size), int(batches))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", type=Path, nargs="+", metavar="DIRECTORY")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--phases", nargs="+", choices=sorted(TESTS), default=sorted(TESTS))
    options = parser.parse_args()
    if not is_enough(options.rounds, 1 - CONFIDENCE):
        parser.error("so few rounds give no interval: --rounds 6, or more")
    print(f"instances/s, medians of {options.rounds} rounds; batch {options.batch_size}, {options.batches} batches")
    print(f"{'':30}{'suite':>9}{'ours':>9}  ratio of medians [{100 * CONFIDENCE:g} %]  of fastest batches")
    for directory in options.directories:
        for phase in options.phases:
            print(compare(directory, phase, options.batch_size, options.batches, options.rounds), flush=True)


if __name__ == "__main__":
    main()
