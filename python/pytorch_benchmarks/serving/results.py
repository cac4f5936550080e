"""Results of a run under load as log values; docs/log-format.md describes each key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pytorch_benchmarks.measure.quantiles import quantile, quantile_interval
from pytorch_benchmarks.serving.loadgen import Outcome, Settings
from pytorch_benchmarks.serving.query import Query
from pytorch_benchmarks.serving.queue import Queue

__all__ = ["Measured", "percentile_name", "run_metrics"]

_OF_LOADGEN = ("loadgen_version", "requested_", "effective_", "generated_", "result_", "early_stopping", "errors")
_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


class Measured:
    """Times of a run in milliseconds, in order of arrival; infinite for rejected queries.

    Attributes:
        latencies: Of each query, from when it was due to the answer to its last sample.
        first_tokens: Of each sample, from when it was due to its first token; empty without tokens.
        per_token: Of each sample, per further token.
        rejected: Number of rejected queries.
    """

    def __init__(self, settings: Settings, outcome: Outcome, queries: Sequence[Query]) -> None:
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
        return all(quantile(sorted(times), share) <= bound for times, bound in self._bounded(settings))

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


def percentile_name(percentile: float) -> str:
    """`p99`, `p999` for 99.9."""
    return "p" + f"{percentile:g}".replace(".", "")


def run_metrics(
    settings: Settings,
    outcome: Outcome,
    times: Measured,
    queries: Sequence[Query],
    queue: Queue,
    prompt_tokens: Sequence[int] = (),
) -> dict[str, Any]:
    """Log values of a run.

    Args:
        settings: Of the run.
        outcome: LoadGen's results.
        times: Of the queries.
        queries: All requested samples.
        queue: With the counters of this run.
        prompt_tokens: Number of tokens of each sample's prompt.

    Returns:
        Times in milliseconds. Unknown values, such as a percentile that is a rejected query, are None.
    """
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
        **_percentiles("latency", times.latencies, settings.percentile),
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
        found |= _percentiles("ttft", times.first_tokens, settings.percentile)
        found |= _percentiles("tpot", times.per_token, settings.percentile)
        found["tokens_per_second"] = sum(query.tokens for query in answered) / seconds
        found["output_tokens"] = fmean(query.tokens for query in answered) if answered else None
        if prompt_tokens:
            found["prompt_tokens"] = fmean(prompt_tokens[query.sample] for query in queries)
    found["loadgen"] = {key: value for key, value in outcome.detail.items() if key.startswith(_OF_LOADGEN)}
    made = {f"results.serving.{key}": value for key, value in found.items()}
    return {**made, "results.throughput": len(answered) / seconds}


def _percentiles(name: str, times: Sequence[float], evaluated: float) -> dict[str, Any]:
    """Mean, minimum, maximum and percentiles of times; `NAME_target` is the evaluated percentile. Keys of intervals end in `_ci95`."""
    ordered = sorted(times)
    finite = [time for time in ordered if math.isfinite(time)]
    found: dict[str, Any] = {
        name: fmean(finite) if finite else None,
        f"{name}_min": _finite(ordered[0]),
        f"{name}_max": _finite(ordered[-1]),
    }
    for percentile in _PERCENTILES:
        key = f"{name}_{percentile_name(percentile)}"
        found[key] = _finite(quantile(ordered, percentile / 100))
        found[f"{key}_ci95"] = _interval(times, percentile)
    found[f"{name}_target"] = _finite(quantile(ordered, evaluated / 100))
    found[f"{name}_target_ci95"] = _interval(times, evaluated)
    return found


def _interval(times: Sequence[float], percentile: float) -> list[float | None] | None:
    found = quantile_interval(times, percentile / 100)
    return None if found is None else [_finite(bound) for bound in found]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean_of(counts: Mapping[int, int]) -> float | None:
    total = sum(counts.values())
    return sum(value * count for value, count in counts.items()) / total if total else None
