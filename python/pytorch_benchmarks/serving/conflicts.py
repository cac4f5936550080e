"""Options of serving that exclude or require each other."""

from __future__ import annotations

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.serving.loadgen import LoadGenAnswers
from pytorch_benchmarks.serving.population import FEWEST_PER_PROCESS

__all__ = ["check_serving"]


def check_serving(options: BenchmarkOptions) -> None:
    """Reject invalid combinations of options before anything is built or started.

    Raises:
        UsageError: A combination is invalid, or the package mlcommons-loadgen is missing.
    """
    LoadGenAnswers()  # raises the error if the package is missing
    scenario = options.serving_scenario
    bounds = options.serving_target_latency or options.serving_target_ttft or options.serving_target_tpot
    if options.serving_find and scenario not in {"server", "single-stream"}:
        raise UsageError(
            f"--serving_find max_qps searches for a rate of the server scenario, not of {scenario}: omit --serving_scenario"
        )
    if options.serving_find and options.serving_find_trials < (
        least := FEWEST_PER_PROCESS * options.serving_find_processes
    ):
        raise UsageError(
            f"--serving_find_trials {options.serving_find_trials}: {options.serving_find_processes} processes need at least {least}; "
            "raise it, or reduce --serving_find_processes"
        )
    if (scenario == "server" or options.serving_find) and not bounds:
        raise UsageError("the server scenario needs a bound: set --serving_target_latency, such as 50 (milliseconds)")
    if scenario == "server" and not options.serving_find and not options.serving_target_qps:
        raise UsageError(
            "the server scenario needs a rate: set --serving_target_qps, or search for it with --serving_find max_qps"
        )
    if options.serving_queue_limit and not (scenario == "server" or options.serving_find):
        raise UsageError(f"--serving_queue_limit: only the server scenario can have a limit, not {scenario}: omit it")
    if options.num_replicas > 1 or options.num_nodes > 1:
        raise UsageError("--serving runs one replica on one node: use --serving_workers to process batches in parallel")
    for flag, value in (
        ("--pack", options.pack),
        ("--cuda_graphs", options.cuda_graphs),
        ("--data_loader_only", options.data_loader_only),
    ):
        if value:
            raise UsageError(f"{flag} and --serving exclude each other: omit one")
    if options.serving_url and options.serving_worker_kind == "processes":
        raise UsageError("--serving_worker_kind processes: workers of --serving_url are connections; omit one")
    if (options.serving_target_ttft or options.serving_target_tpot) and options.serving_target_latency:
        raise UsageError(
            "LoadGen checks either --serving_target_latency or the bounds of tokens (--serving_target_ttft, --serving_target_tpot): omit one"
        )
