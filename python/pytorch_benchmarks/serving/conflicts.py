"""Options of serving that exclude each other, or need others."""

from __future__ import annotations

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.serving.loadgen import LoadGenAnswers

__all__ = ["check_serving"]


def check_serving(options: BenchmarkOptions) -> None:
    """Refuse options that exclude each other, before anything is built or started.

    Raises:
        UsageError: Some do, or the package mlcommons-loadgen is missing.
    """
    LoadGenAnswers()  # says that the package is missing
    scenario = options.serving_scenario
    bounds = options.serving_target_latency or options.serving_target_ttft or options.serving_target_tpot
    if options.serving_find and scenario not in {"server", "single-stream"}:
        raise UsageError(
            f"--serving_find max_qps searches a rate of server, not of {scenario}: leave out --serving_scenario"
        )
    if (scenario == "server" or options.serving_find) and not bounds:
        raise UsageError("server needs a bound: give --serving_target_latency, such as 50 (milliseconds)")
    if scenario == "server" and not options.serving_find and not options.serving_target_qps:
        raise UsageError("server needs a rate: give --serving_target_qps, or let --serving_find max_qps search for it")
    if options.serving_queue_limit and not (scenario == "server" or options.serving_find):
        raise UsageError(f"--serving_queue_limit: {scenario} waits for its answers, and needs no limit: leave it out")
    if options.num_replicas > 1 or options.num_nodes > 1:
        raise UsageError("--serving runs one replica on one node: use --serving_workers for more at a time")
    for flag, value in (
        ("--pack", options.pack),
        ("--cuda_graphs", options.cuda_graphs),
        ("--data_loader_only", options.data_loader_only),
    ):
        if value:
            raise UsageError(f"{flag} and --serving exclude each other: leave one out")
    if options.serving_url and options.serving_worker_kind == "processes":
        raise UsageError("--serving_worker_kind processes: what answers is behind --serving_url; leave one out")
    if (options.serving_target_ttft or options.serving_target_tpot) and options.serving_target_latency:
        raise UsageError(
            "LoadGen judges by --serving_target_latency or by the bounds of tokens (--serving_target_ttft, --serving_target_tpot): leave one out"
        )
