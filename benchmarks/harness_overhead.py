"""The overhead of the benchmark program: the same model in a bare loop and in ours, alternating in one process.

    python benchmarks/harness_overhead.py [--rounds 15]

Inference on the CPU. Each round runs both in random order and gives one ratio; the median of the ratios is printed, since drift of the machine
between rounds exceeds the difference.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import torch
from torch import nn

from benchmark_core.timing import ProgressLines, Schedule, time_batches
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.phases import inference_step


class Tiny(nn.Module):
    """A model with almost no work, so that all time is overhead."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def bare(model: nn.Module, inputs: torch.Tensor, count: int) -> float:
    model.eval()
    with torch.inference_mode():
        start = time.perf_counter()
        for _ in range(count):
            model(inputs)
        return (time.perf_counter() - start) / count


def ours(model: nn.Module, inputs: torch.Tensor, count: int) -> float:
    step: Callable[[Any], Any] = inference_step(model)
    batches = itertools.repeat((inputs, None))
    schedule = Schedule(count)
    watcher = ProgressLines(schedule, len(inputs), "images")  # as the program has one
    timing = time_batches(step, batches, schedule, synchronize=lambda: None, watcher=watcher)
    return sum(timing.batches) / count  # as the program reports it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    cases: list[tuple[str, nn.Module, torch.Tensor, int]] = [("identity", Tiny(), torch.zeros(1), 20_000)]
    for name, batch, count in (("deep_mnist", 1, 100), ("deep_mnist", 16, 50), ("resnet18", 1, 20)):
        model = get_model(name)
        cases.append((f"{name}, batch {batch}", model, model.inputs(batch, torch.Generator()), count))
    print("                          bare µs    ours µs   added µs   ratio")
    for name, model, inputs, count in cases:
        bare(model, inputs, 10)
        pairs = []
        for _ in range(rounds):
            sides = [bare, ours]
            random.shuffle(sides)
            seconds = {side: side(model, inputs, count) for side in sides}
            pairs.append((seconds[bare] * 1e6, seconds[ours] * 1e6))
        added = statistics.median(b - a for a, b in pairs)
        ratio = statistics.median(b / a for a, b in pairs)
        middle, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{name:22} {middle:>10.1f} {other:>10.1f} {added:>10.2f} {ratio:>7.3f}")


if __name__ == "__main__":
    main()
