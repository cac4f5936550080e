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
from typing import TYPE_CHECKING, Any

from benchmark_core.crash import guarded
from benchmark_core.doubts import warning
from benchmark_core.log import Log
from benchmark_core.program import check_writable, end, run
from pytorch_benchmarks.options import BenchmarkOptions, parse_benchmark_options

if TYPE_CHECKING:
    import torch

    from pytorch_benchmarks.devices import Precision, World


_STARTED = perf_counter()  # 0.1 s after the interpreter; torch is not imported yet
_KEPT = (
    "memory freed by a batch was kept for the next one (runtime.malloc=keep), which makes models up to 2.7 times as fast; "
    "most programs do not keep it: compare with them under runtime.malloc=system"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and return the exit code of `program.run`."""
    options = parse_benchmark_options(arguments)
    log = Log()
    words = sys.argv[1:] if arguments is None else arguments
    return run(lambda: _start(options, words, log), options, log)


def _start(options: BenchmarkOptions, arguments: Sequence[str], log: Log) -> None:
    check_writable("--profile", options.profile)
    if options.serving:
        from pytorch_benchmarks.serving.run import check_serving

        check_serving(options)
        if options.serving_url:
            from pytorch_benchmarks.serving.remote import serve_url
            from pytorch_benchmarks.serving.search import search

            serve_url(options, log, search)
            return

    from pytorch_benchmarks.distributed import started
    from pytorch_benchmarks.workload import tried

    with started(options, __file__, arguments) as (device, world), tried(options):
        _benchmark(options, device, world, log)


def _benchmark(options: BenchmarkOptions, device: torch.device, world: World, log: Log) -> None:
    """Run one benchmark: set up, timed batches, results, then passes that measure other quantities."""
    import torch

    from benchmark_core.measure import benchmark
    from benchmark_core.timing import Schedule
    from pytorch_benchmarks.devices import (
        choose_precision,
        set_backends,
        slow_on_this_cpu,
    )
    from pytorch_benchmarks.results import log_passes, subject_of
    from pytorch_benchmarks.workload import build_workload

    precision = choose_precision(options, device)
    settings = set_backends(options, tf32=precision.tf32)
    torch.manual_seed(options.seed)
    if options.serving:
        facts = {**settings, "precision": precision.describe(), "compile": options.compile}
        _serve(options, device, precision, facts, log)
        return
    if options.pack:
        from pytorch_benchmarks.model_factory import load_file

        workload, batch_size = load_file(options.pack_loader, "--pack_loader").pack_workload(options, device, precision)
        if batch_size != options.batch_size:  # the model chose its own; the launcher could not know it
            log("exp.replica_batch", batch_size)
            log("exp.effective_batch", batch_size)
        options = replace(options, batch_size=batch_size)
    else:
        workload = build_workload(options, device, world, precision)
    settings |= {"precision": precision.describe(), "compile": options.compile, "cuda_graphs": options.cuda_graphs}
    if slow_on_this_cpu(precision):
        log.warn(warning("slow data type", f"this CPU has no instructions for {options.dtype}"))
    if options.num_threads > (os.cpu_count() or 1):
        log.warn(warning("oversubscription", f"{options.num_threads} threads on {os.cpu_count()} CPUs"))
    schedule = Schedule(options.num_batches, options.num_warmup_batches, options.min_time, options.sync)
    benchmark(subject_of(options, workload, world, device, settings), options, schedule, log, _STARTED)
    if log.reports and log.values.get("results.malloc") == "keep":
        print(_KEPT, flush=True)
    log_passes(log, options, workload, device, precision)


def _serve(
    options: BenchmarkOptions, device: torch.device, precision: Precision, facts: dict[str, Any], log: Log
) -> None:
    """Put a model under load, once or in a search, and log the results."""
    import tempfile

    from benchmark_core.load import CompetingLoad
    from benchmark_core.measure import log_load
    from pytorch_benchmarks.serving.loadgen import undisturbed
    from pytorch_benchmarks.serving.run import make_service, run_once
    from pytorch_benchmarks.serving.search import LoadGenRuns, search

    with tempfile.TemporaryDirectory(prefix="loadgen-") as temporary:
        directory = Path(options.serving_log_dir or temporary)
        service = make_service(options, device, precision, log)
        log.many(facts, "results.")
        competing = CompetingLoad()
        with undisturbed():
            competing.start()
            if options.serving_find:
                count = search(options, LoadGenRuns(options, service, directory), log)
            else:
                count = run_once(options, service, directory, log)
            competing.stop()
        log_load(log, competing, max(1, count))


if __name__ == "__main__":
    end(guarded(main))
