"""The harness's overhead per batch, the accuracy of its clock, and the gain of CUDA graphs where launching kernels is the bottleneck."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmark_core.timing import Schedule, time_batches
from benchmarks.gpu.sides import Effort, Measurement, NotHereError, bare, compare, ours, ratio
from dlbs.core.files import dlbs_root
from dlbs.executors.turns import TurnGiver
from dlbs.results.read.records import read_runs
from dlbs.results.runs import TIME
from dlbs.results.statistics.ratio import pair_ratio
from pytorch_benchmarks.data.source import synthetic_batches
from pytorch_benchmarks.devices import event_maker, set_backends, synchronizer
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import graphed, inference_step, training_step


def measurements() -> Iterator[Measurement]:
    """All measurements, in order of importance."""
    for sync in ("each", "end"):
        yield Measurement(f"harness, one small kernel, sync {sync}", partial(_harness, sync))
    for model, batch, train in (("resnet50", 64, True), ("bert_base", 32, False)):
        name = f"clock, {model} {'training' if train else 'inference'}"
        yield Measurement(name, partial(_clock, model, batch, train))
    for model, batch in (("resnet50", 1), ("bert_base", 1), ("efficientnet_b0", 1), ("resnet50", 16)):
        yield Measurement(f"graphs, {model} inference batch {batch}", partial(_graphs, model, batch, False))
    yield Measurement("turns, resnet50 inference batch 16", partial(_turns))
    yield Measurement("graphs, resnet50 training batch 4", partial(_graphs, "resnet50", 4, True))


def _prepared(name: str, batch: int, train: bool, effort: Effort) -> tuple[Any, Iterator[Any]]:
    set_backends(parse_benchmark_options(["--model=m"]), tf32=effort.device.type == "cuda")
    torch.manual_seed(1)
    with effort.device:
        model = get_model("deep_mnist" if effort.tiny else name)
    batches = synthetic_batches(model, batch, device=effort.device, dtype=torch.float32, seed=1)
    return training_step(model, model) if train else inference_step(model), batches


def _harness(sync: str, effort: Effort) -> Mapping[str, Any]:
    """Microseconds that the harness adds to a batch of one small kernel."""
    value = torch.zeros(1, device=effort.device)
    synchronize = synchronizer(effort.device)

    def step(_: Any = None) -> Any:
        return value.add_(1)

    def alone() -> Any:
        step()
        if sync == "each":
            synchronize()

    def forever() -> Iterator[None]:
        while True:
            yield None

    found = compare({"ours": ours(step, forever(), effort.device, sync), "bare": bare(alone, effort.device)}, effort)
    added = statistics.median(a - b for a, b in zip(found["ours"], found["bare"], strict=True))
    return {"ours µs": 1e6 * statistics.median(found["ours"]), "added µs": 1e6 * added}


def _clock(name: str, batch: int, train: bool, effort: Effort) -> Mapping[str, Any]:
    """The time of a batch by events, compared with its kernels in a profile and with the wall clock."""
    from torch.profiler import ProfilerActivity, profile

    step, batches = _prepared(name, 2 if effort.tiny else batch, train, effort)
    count = 2 if effort.tiny else 10
    timing = time_batches(
        step,
        batches,
        Schedule(count, 3),
        synchronize=synchronizer(effort.device),
        make_event=event_maker(effort.device),
    )
    kind = ProfilerActivity.CPU if effort.device.type == "cpu" else ProfilerActivity.CUDA
    with profile(activities=[kind]) as profiler:
        for _ in range(count):
            step(next(batches))
        synchronizer(effort.device)()
    kernels = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e3 / count
    events = None if timing.device is None else 1000 * statistics.median(timing.device)
    return {
        "wall ms": 1000 * statistics.median(timing.batches),
        "events ms": events,
        "kernels ms": kernels or None,
        "events / kernels": events / kernels
        if events and kernels
        else None,  # above 1: the device waits between kernels
    }


def _graphs(name: str, batch: int, train: bool, effort: Effort) -> Mapping[str, Any]:
    """The speed-up of a recorded step where the host launches kernels more slowly than the device runs them."""
    eager, batches = _prepared(name, batch, train, effort)
    recorded = eager if effort.device.type == "cpu" else graphed(eager, effort.device)
    sides = {"eager": ours(eager, batches, effort.device), "graph": ours(recorded, batches, effort.device)}
    found = compare(sides, effort)
    return {
        "eager ms": 1000 * statistics.median(found["eager"]),
        "graph ms": 1000 * statistics.median(found["graph"]),
        "graph / eager": ratio(found, "graph", "eager"),
    }


def _turns(effort: Effort) -> Mapping[str, Any]:
    """The standard deviation of the ratios of two processes of the same code that take turns on the device."""
    model, batch, pairs = ("deep_mnist", 1, 1) if effort.tiny else ("resnet50", 16, 5)
    words = [
        sys.executable,
        str(dlbs_root() / "python/pytorch_benchmarks/benchmarks.py"),
        "--model",
        model,
        "--forward_only",
        "true",
    ]
    words += [
        "--batch_size",
        str(batch),
        "--device",
        "gpu" if effort.device.type == "cuda" else "cpu",
        "--num_warmup_batches",
        "5",
    ]
    found = []
    with tempfile.TemporaryDirectory() as directory:
        logs = [Path(directory, name) for name in ("a.log", "b.log")]
        for _ in range(pairs):
            giver = TurnGiver(2, 0.15, 10 if effort.tiny else 40)
            sides = []
            for log, variables in zip(logs, giver.environments, strict=True):
                with log.open("wb") as stream:
                    sides.append(subprocess.Popen(words, env={**os.environ, **variables}, stdout=stream, stderr=stream))
            while all(side.poll() is None for side in sides):
                time.sleep(0.05)
            giver.close()  # a side whose partner has failed waits no longer
            codes = [side.wait() for side in sides]
            if any(codes):
                raise NotHereError(f"a side of the turns failed: {logs[0].read_text()[-500:]}")
            a, b = (read_runs([str(log)])[0] for log in logs)
            pair = pair_ratio(a, b, TIME)
            found.append(0.0 if pair is None else pair.log)
    return {
        "pairs": len(found),
        "ratio": math.exp(statistics.fmean(found)),
        "SD %": 100 * statistics.stdev(found) if len(found) > 1 else None,
    }
