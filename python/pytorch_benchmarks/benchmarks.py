"""Benchmark a PyTorch model: warm up, time batches, print the results.

    python benchmarks.py --model alexnet
    python benchmarks.py --model resnet50 --forward_only true --batch_size 32 --dtype float16 --device gpu

Results are printed as `__key__= json` lines; times are milliseconds, throughput is instances per second.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # run as a script, from any directory
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from pytorch_benchmarks.log import Log
from pytorch_benchmarks.options.benchmark import BenchmarkOptions, parse_benchmark_options
from pytorch_benchmarks.program import check_writable, end, run
from pytorch_benchmarks.unforeseen import guarded

if TYPE_CHECKING:
    import torch

    from pytorch_benchmarks.distributed import World

__all__ = ["main"]

_STARTED = perf_counter()  # 0.1 s after the interpreter; torch is not imported yet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and return the exit code of `program.run`."""
    options = parse_benchmark_options(arguments)
    log = Log()
    words = sys.argv[1:] if arguments is None else arguments
    return run(lambda: _start(options, words, log), options, log)


def _start(options: BenchmarkOptions, arguments: Sequence[str], log: Log) -> None:
    check_writable("--profile", options.profile)
    if options.serving:
        from pytorch_benchmarks.serving.conflicts import check_serving

        check_serving(options)

    from pytorch_benchmarks.distributed import started
    from pytorch_benchmarks.phases.trial import tried

    with started(options, __file__, arguments) as (device, world), tried(options):
        _benchmark(options, device, world, log)


def _benchmark(options: BenchmarkOptions, device: torch.device, world: World, log: Log) -> None:
    """Run one benchmark: set up, timed batches, results, then passes that measure other quantities."""
    import torch

    from pytorch_benchmarks.devices import event_maker, set_backends, synchronizer
    from pytorch_benchmarks.distributed import largest
    from pytorch_benchmarks.measure.competing_load import CompetingLoad
    from pytorch_benchmarks.measure.energy import Energy
    from pytorch_benchmarks.measure.progress import Progress
    from pytorch_benchmarks.measure.report import log_competing_load, timestamp
    from pytorch_benchmarks.measure.results import log_facts, log_loss, log_passes, log_times
    from pytorch_benchmarks.measure.timing import Schedule, time_batches
    from pytorch_benchmarks.phases.workload import build_workload
    from pytorch_benchmarks.precision import choose_precision, slow_on_this_cpu

    precision = choose_precision(options, device)
    settings = set_backends(options, tf32=precision.tf32)
    torch.manual_seed(options.seed)
    if options.serving:
        from pytorch_benchmarks.serving.phase import serve

        serve(
            options, device, precision, {**settings, "precision": precision.describe(), "compile": options.compile}, log
        )
        return
    if options.pack:
        from pytorch_benchmarks.torchbench.workload import pack_workload

        workload, batch_size = pack_workload(options, device, precision)
        if batch_size != options.batch_size:  # the model chose its own; the launcher could not know it
            log("exp.replica_batch", batch_size)
            log("exp.effective_batch", batch_size)
        options = replace(options, batch_size=batch_size)
    else:
        workload = build_workload(options, device, world, precision)
    settings |= {"precision": precision.describe(), "compile": options.compile, "cuda_graphs": options.cuda_graphs}
    log_facts(log, options, workload.model, device, workload.source.title)
    log("results.time_build", 1000.0 * workload.build_seconds)
    log.many({**settings, **workload.source.facts}, "results.")
    if slow_on_this_cpu(precision):
        log.warn(f"slow data type: this CPU has no instructions for {options.dtype}; use float32 or another CPU")
    if options.num_threads > (os.cpu_count() or 1):
        log.warn(
            f"oversubscription: {options.num_threads} threads on {os.cpu_count()} CPUs; use --num_threads {os.cpu_count()} or fewer"
        )

    competing, energy = CompetingLoad(), Energy.of(device)
    schedule = Schedule(options.num_batches, options.num_warmup_batches, options.min_time, options.sync)
    started = perf_counter()
    log("results.start_time", timestamp())
    timing = time_batches(
        workload.step,
        workload.source.batches,
        schedule,
        synchronize=synchronizer(device),
        make_event=event_maker(device),
        observers=(competing, energy),
        agree=lambda number: largest(number, world, device),
        watcher=Progress(schedule, options.batch_size * world.size, workload.model.unit) if log.reports else None,
    )
    log("results.end_time", timestamp())

    log("results.time_to_first_batch", 1000.0 * (started - _STARTED + timing.first))
    log_loss(log, workload, timing, world, device)
    log_competing_load(log, competing, len(timing.batches))
    log.many(energy.metrics(options.batch_size * len(timing.batches)))
    log_times(log, options, workload, timing, world, device)
    log_passes(log, options, workload, device, precision)


if __name__ == "__main__":
    end(guarded(main))
