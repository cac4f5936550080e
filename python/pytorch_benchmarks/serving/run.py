"""One run of LoadGen: conflicts between options, the model or server under load, the settings, and the results as log values."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmark_core.doubts import warning
from benchmark_core.exits import UsageError
from benchmark_core.intervals import latency_quantile, quantile_interval
from benchmark_core.log import Log
from benchmark_core.measure import log_facts
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.serving.loadgen import (
    PERCENTILES,
    LoadGenAnswers,
    LoadGenResult,
    Settings,
    fewest_queries,
    run_loadgen,
)
from pytorch_benchmarks.serving.remote import check_remote, print_line
from pytorch_benchmarks.serving.requests import percentiles
from pytorch_benchmarks.serving.system import Backend, Query, Queue, Service, System, max_batch

if TYPE_CHECKING:  # a run against a URL starts without torch
    import torch

    from pytorch_benchmarks.devices import Precision

_OF_LOADGEN = ("loadgen_version", "requested_", "effective_", "generated_", "result_", "early_stopping", "errors")
_WITH_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile
_LATE = 0.05  # of the percentile: above this mean delay of LoadGen, the run is doubtful
_MOST_ATTEMPTS = 3  # of offline
_MORE = 1.3  # samples of the next attempt, relative to the number that the last one processed in the minimum duration


def check_serving(options: BenchmarkOptions) -> None:
    """Reject invalid combinations of options before anything is built or started.

    Raises:
        UsageError: A combination is invalid, or the package mlcommons-loadgen is missing.
    """
    if options.serving_url:
        check_remote(options)
    else:
        LoadGenAnswers()  # raises the error if the package is missing
        if options.serving_command:
            raise UsageError("--serving_command needs --serving_url, the address of the server that it starts")
        if options.serving_scenario == "concurrent":
            raise UsageError("--serving_scenario concurrent needs a server (--serving_url)")
    scenario, tokens = options.serving_scenario, options.serving_target_ttft or options.serving_target_tpot
    has_rate = options.serving_find or options.serving_target_qps or options.serving_arrivals == "trace"
    if options.serving_find and scenario not in {"server", "single-stream"}:
        raise UsageError(
            f"--serving_find max_qps searches for a rate of the server scenario, not of {scenario}: omit --serving_scenario"
        )
    if options.serving_find and not (options.serving_target_latency or tokens):
        raise UsageError("a search needs a bound: set --serving_target_latency, such as 50 (milliseconds)")
    if scenario == "server" and not has_rate:
        raise UsageError(
            "the server scenario needs a rate: set --serving_target_qps, or search for it with --serving_find max_qps"
        )
    if options.serving_queue_limit and not (scenario == "server" or options.serving_find):
        raise UsageError(f"--serving_queue_limit: only the server scenario can have a limit, not {scenario}: omit it")
    if options.num_replicas > 1 or options.num_nodes > 1:
        raise UsageError("--serving runs one replica on one node: use --serving_workers to process batches in parallel")
    for flag in ("pack", "cuda_graphs", "data_loader_only"):
        if getattr(options, flag):
            raise UsageError(f"--{flag} and --serving exclude each other: omit one")
    if tokens and options.serving_target_latency and not options.serving_url:
        raise UsageError(
            "LoadGen checks either --serving_target_latency or the bounds of tokens (--serving_target_ttft, --serving_target_tpot): omit one"
        )


def run_once(options: BenchmarkOptions, service: Service, directory: Path, log: Log) -> int:
    """Run LoadGen once; returns the number of queries."""
    settings = make_settings(options, options.serving_scenario, service.has_tokens)
    system = make_system(options, service, settings.scenario, settings)
    outcome = run_loadgen(settings, system, directory, keep_trace=options.serving_keep_trace)
    attempts = 1
    while settings.scenario == "offline" and attempts < _MOST_ATTEMPTS:
        if outcome.detail.get("result_min_duration_met", True):
            break
        # All samples are requested at once, so their number must be known in advance; a run that was too short tells how many are needed.
        settings = replace(settings, target_qps=_MORE * system.samples_per_second)
        outcome = run_loadgen(settings, system, directory, keep_trace=options.serving_keep_trace)
        attempts += 1
    times = log_run(options, service, settings, outcome, system, log)
    if log.reports:
        print_line(options.model, log.values)
    system.stop()
    return len(times.latencies)


def make_settings(options: BenchmarkOptions, scenario: str, has_tokens: bool) -> Settings:
    """LoadGen's settings for a scenario; only `server` has a rate and bounds."""
    is_server = scenario == "server"
    return Settings(
        scenario,
        percentile := options.serving_percentile or PERCENTILES[scenario],
        options.serving_min_duration,
        options.serving_min_queries or (1 if scenario == "offline" else fewest_queries(percentile)),
        target_qps=options.serving_target_qps if is_server else 0.0,
        target_latency=options.serving_target_latency / 1000 if is_server else 0.0,
        target_ttft=options.serving_target_ttft / 1000 if is_server else 0.0,
        target_tpot=options.serving_target_tpot / 1000 if is_server else 0.0,
        samples_per_query=options.serving_samples_per_query if scenario == "multi-stream" else 1,
        samples=options.serving_samples,
        seeds=(options.serving_schedule_seed, options.serving_sample_seed, options.serving_library_seed),
        has_tokens=has_tokens,
    )


def make_system(options: BenchmarkOptions, service: Service, scenario: str, settings: Settings) -> System:
    """The queue and the workers; in single-stream and multi-stream, one worker answers in the thread that issues queries."""
    is_sequential = settings.is_sequential
    queue = Queue(
        max_batch(options),
        0.0 if is_sequential else options.serving_max_wait / 1000,
        options.serving_queue_limit if scenario == "server" else 0,
    )
    late_after = 1.1 * max(settings.target_latency, settings.target_ttft, settings.target_tpot)
    return System(
        LoadGenAnswers(settings.uses_token_latencies),
        queue,
        service.make_backends,
        late_after=late_after,
        inline=is_sequential and len(service.make_backends) == 1,
    )


def log_run(
    options: BenchmarkOptions, service: Service, settings: Settings, outcome: LoadGenResult, system: System, log: Log
) -> Measured:
    """Log the results of a run, with a warning for each reason to distrust them."""
    times = Measured(settings, outcome, system.queries)
    metrics = run_metrics(settings, outcome, times, system, service.prompt_tokens)
    log("results.serving.scenario", settings.scenario)
    log.many(metrics)
    if not outcome.is_valid:
        log.warn(warning("invalid result", f"LoadGen reports: {outcome.reason.rstrip('.')}"))
    if times.rejected:
        figures = f"{times.rejected} of {len(times.latencies)}, which count as too late"
        log.warn(warning("rejected queries", figures))
    target = metrics["results.serving.latency_target"]
    delay = metrics["results.serving.issue_delay_max"]
    if settings.scenario == "server" and target is not None and metrics["results.serving.issue_delay"] > _LATE * target:
        mean = metrics["results.serving.issue_delay"]
        figures = f"queries were issued {mean:.2f} ms late on average, {delay:.2f} ms at most"
        log.warn(warning("late load generator", figures))
    return times


class Measured:
    """Times of a run in milliseconds, in order of arrival; infinite for rejected queries.

    Attributes:
        latencies: Of each query, from when it was due to the answer to its last sample.
        first_tokens: Of each sample, from when it was due to its first token; empty without tokens.
        per_token: Of each sample, per further token.
        rejected: Number of rejected queries.
    """

    def __init__(self, settings: Settings, outcome: LoadGenResult, queries: Sequence[Query]) -> None:
        of_samples = [
            math.inf if query.is_rejected else 1000 * latency
            for query, latency in zip(queries, outcome.latencies, strict=True)
        ]
        size = settings.samples_per_query
        self.latencies = [max(of_samples[begin : begin + size]) for begin in range(0, len(of_samples), size)]
        self.first_tokens: list[float] = []
        self.per_token: list[float] = []
        self.rejected = sum(query.is_rejected for query in queries)
        if settings.has_tokens:
            for query, latency in zip(queries, of_samples, strict=True):
                made = 1000 * (query.done - query.first_token)
                self.first_tokens.append(latency - made if math.isfinite(latency) else math.inf)
                self.per_token.append(made / (query.tokens - 1) if math.isfinite(latency) else math.inf)

    def keeps(self, settings: Settings) -> bool:
        """Whether the evaluated percentile is within each bound."""
        share = settings.percentile / 100
        return all(latency_quantile(sorted(times), share) <= bound for times, bound in self._bounded(settings))

    def surely_breaks(self, settings: Settings) -> bool:
        """Whether the complete confidence interval of a percentile is above its bound."""
        share = settings.percentile / 100
        intervals = [(quantile_interval(times, share), bound) for times, bound in self._bounded(settings)]
        return any(interval is not None and interval[0] > bound for interval, bound in intervals)

    def _bounded(self, settings: Settings) -> list[tuple[list[float], float]]:
        """Pairs of times and their bound in milliseconds."""
        bounds = (
            (self.latencies, settings.target_latency),
            (self.first_tokens, settings.target_ttft),
            (self.per_token, settings.target_tpot),
        )
        return [(times, 1000 * bound) for times, bound in bounds if times and bound]


def run_metrics(
    settings: Settings, outcome: LoadGenResult, times: Measured, system: System, prompt_tokens: Sequence[int] = ()
) -> dict[str, Any]:
    """Log values of a run.

    Args:
        settings: Of the run.
        outcome: LoadGen's results.
        times: Of the queries.
        system: With the queries and counters of this run.
        prompt_tokens: Number of tokens of each sample's prompt.

    Returns:
        Times in milliseconds. Unknown values, such as a percentile that is a rejected query, are None.
    """
    queries, queue = system.queries, system.queue
    answered = [query for query in queries if not query.is_rejected]
    seconds = max(query.done for query in queries) - queries[0].arrival
    waits = [1000 * (query.taken - query.arrival) for query in answered]
    found: dict[str, Any] = {
        "valid": outcome.is_valid,
        "reason": outcome.reason,
        "queries": len(times.latencies),
        "rejected": times.rejected,
        "qps": len(answered) / settings.samples_per_query / seconds,
        "percentile": settings.percentile,
        **percentiles("latency", times.latencies, settings.percentile),
        "queue_time": fmean(waits) if waits else None,
        "queue_time_max": max(waits, default=None),
        "queue_length": _mean_of(queue.lengths),
        "queue_length_max": max(queue.lengths, default=0),
        "batch_size": _mean_of(queue.batch_sizes),
        "batch_size_max": max(queue.batch_sizes, default=0),
        "batch_sizes": {str(size): count for size, count in sorted(queue.batch_sizes.items())},
        "issue_delay": 1000 * fmean(outcome.delays),
        "issue_delay_max": 1000 * max(outcome.delays),
    }
    if settings.scenario == "server":
        found["offered_qps"] = outcome.detail.get("result_scheduled_samples_per_sec", settings.target_qps)
        if settings.target_latency:
            found["late"] = sum(latency > 1000 * settings.target_latency for latency in times.latencies)
    if settings.has_tokens:
        found |= percentiles("ttft", times.first_tokens, settings.percentile)
        found |= percentiles("tpot", times.per_token, settings.percentile)
        found["tokens_per_second"] = sum(query.tokens for query in answered) / seconds
        found["output_tokens"] = fmean(query.tokens for query in answered) if answered else None
        if prompt_tokens:
            found["prompt_tokens"] = fmean(prompt_tokens[query.sample] for query in queries)
    found["loadgen"] = {key: value for key, value in outcome.detail.items() if key.startswith(_OF_LOADGEN)}
    made = {f"results.serving.{key}": value for key, value in found.items()}
    return {**made, "results.throughput": len(answered) / seconds}


def _mean_of(counts: Mapping[int, int]) -> float | None:
    total = sum(counts.values())
    return sum(value * count for value, count in counts.items()) / total if total else None


def make_service(options: BenchmarkOptions, device: torch.device, precision: Precision, log: Log) -> Service:
    """Build the model and log the facts about it.

    Raises:
        UsageError: The model is not available, or an option does not fit it.
    """
    from pytorch_benchmarks.devices import release_memory
    from pytorch_benchmarks.results import about
    from pytorch_benchmarks.serving.local import ProcessBackend, build_local

    _check_graphs(options, device)
    made = build_local(options, device, precision)
    log_facts(log, options, about(made.model, device, made.title))
    log("results.time_build", 1000.0 * made.build_seconds)
    if (options.serving_target_ttft or options.serving_target_tpot) and made.prompts is None:
        raise UsageError(
            f"--serving_target_ttft and --serving_target_tpot: {options.model} generates no text; omit them"
        )
    workers = options.serving_workers or 1
    log("results.serving.workers", workers)
    has_tokens, tokens = made.prompts is not None, made.prompts.lengths if made.prompts else ()
    if options.serving_worker_kind == "processes":
        del made  # each process builds its own: the memory of this one belongs to them
        gc.collect()
        release_memory(device)
        makers: list[Callable[[], Backend]] = [lambda: ProcessBackend(options)] * workers
        return Service(makers, has_tokens, tokens)
    return Service([made.make_backend] * workers, has_tokens, tokens)


def _check_graphs(options: BenchmarkOptions, device: torch.device) -> None:
    """Reject CUDA graphs of torch.compile in several threads, which fail before PyTorch 2.13 (https://github.com/pytorch/pytorch/issues/123177).

    Raises:
        UsageError: They are requested.
    """
    import torch

    several = options.serving_workers > 1 and options.serving_worker_kind == "threads"
    if several and options.compile in _WITH_GRAPHS and device.type == "cuda" and torch.__version__ < "2.13":
        raise UsageError(
            f"--compile {options.compile} captures CUDA graphs, which PyTorch {torch.__version__} supports in one thread: "
            "use --serving_worker_kind processes, or --compile max-autotune-no-cudagraphs"
        )
