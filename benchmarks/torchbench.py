"""Compare the suite's timing of TorchBench models with ours, alternating in one process.

    python benchmarks/torchbench.py DIRECTORY [DIRECTORY ...] [--rounds 15] [--batches 5] [--batch_size 4] [--phases training inference]

One side repeats the suite's run.py: it creates the model, runs three warm-up batches, and measures the wall-clock time of `invoke()` for each further one. The
other is that of benchmarks.py: the pack's workload and its loop. Each has a separate model; the allocator is the system's (runtime.malloc=system), threads
and batches are the same. Each round runs both in a random order and gives one ratio, that of the median times; the overall ratio and its interval are computed as by
`dlbs compare` for runs in rounds (docs/statistics.md).
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import torch

from benchmark_core.timing import Schedule, time_batches
from dlbs.results.statistics.sequential import is_enough, signed_rank_interval
from dlbs.suites.torchbench.measured import workload as suite
from pytorch_benchmarks.devices import choose_precision, set_backends
from pytorch_benchmarks.options import parse_benchmark_options

WARMUP = 3  # batches, as in run.py
CONFIDENCE = 0.95
TESTS = {"training": "train", "inference": "eval"}

Side = Callable[[int], list[float]]  # number of batches → ms of each


def as_the_suite(directory: Path, phase: str, batch_size: int) -> Side:
    """The loop of run.py, around the model's `invoke`."""
    test = TESTS[phase]
    made = suite.make(suite.load_class(directory), test, "cpu", batch_size)

    def measure(count: int) -> list[float]:
        times = []
        with torch.set_grad_enabled(test == "train"):
            for _ in range(count):
                start = time.time_ns()
                made.invoke()
                times.append((time.time_ns() - start) / 1e6)
        return times

    return measure


def as_ours(directory: Path, phase: str, batch_size: int) -> Side:
    """The loop that benchmarks.py times."""
    given = ["--pack", str(directory), "--pack_loader", suite.__file__, "--batch_size", str(batch_size)]
    options = parse_benchmark_options([*given, "--forward_only", str(phase == "inference").lower()])
    device = torch.device("cpu")
    precision = choose_precision(options, device)
    set_backends(options, tf32=precision.tf32)
    workload, _ = suite.pack_workload(options, device, precision)

    def measure(count: int) -> list[float]:
        timing = time_batches(workload.step, workload.source.batches, Schedule(count), synchronize=lambda: None)
        return [1000 * seconds for seconds in timing.batches]

    return measure


def compare(directory: Path, phase: str, batch_size: int, batches: int, rounds: int) -> str:
    """A row of the table: throughputs of both sides in instances per second, and the ratio with its interval."""
    sides = {"suite": as_the_suite(directory, phase, batch_size), "ours": as_ours(directory, phase, batch_size)}
    for measure in sides.values():
        measure(WARMUP)
    found: dict[str, list[float]] = {name: [] for name in sides}
    order = random.Random(21)
    for _ in range(rounds):
        for name in order.sample(list(sides), 2):
            found[name].append(statistics.median(sides[name](batches)))
    row = f"{directory.name + ', ' + phase:34}"
    row += "".join(f"{1000 * batch_size / statistics.median(found[name]):12.4g}" for name in sides)
    # A throughput is the inverse of a time.
    estimated = signed_rank_interval(found["suite"], found["ours"], CONFIDENCE)
    assert estimated is not None
    ratio, interval = estimated
    return f"{row}{ratio:10.3f}  [{interval.low:.3f}, {interval.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", type=Path, nargs="+", metavar="DIRECTORY")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--phases", nargs="+", choices=sorted(TESTS), default=sorted(TESTS))
    options = parser.parse_args()
    if not is_enough(options.rounds, 1 - CONFIDENCE):
        parser.error("--rounds must be at least 6 for an interval")
    print(
        f"instances/s, medians of {options.rounds} rounds of {options.batches} batches; batch size {options.batch_size}"
    )
    print(f"{'':34}{'suite':>12}{'ours':>12}{'ratio':>10}  {100 * CONFIDENCE:g} % interval")
    for directory in options.directories:
        for phase in options.phases:
            print(compare(directory, phase, options.batch_size, options.batches, options.rounds), flush=True)


if __name__ == "__main__":
    main()
