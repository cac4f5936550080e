"""Keys of records: units of their numbers, whether higher is better, and unknown ones. docs/log-format.md describes each key."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable

from dlbs.errors import LogError, did_you_mean

__all__ = ["UNITS", "better_of", "check_known", "unit_of"]

_MS = (
    "results.time results.time_std results.time_min results.time_median results.time_p50 results.time_p90 results.time_p99 results.time_max "
    "results.time_data results.time_warmup_data results.time_device results.time_first_batch results.time_to_first_batch results.time_build results.time_compile "
    "results.time_prefill results.time_decode results.time_data_wait results.time_user results.time_system"
)
_BYTES = (
    "results.bytes_per_batch results.memory_host results.memory_device_allocated results.memory_device_reserved results.use.mem_res results.use.mem_virt "
    "results.use.mem_shrd results.use.mem_res_mean results.use.mem_res_peak results.use.io_read results.use.io_write results.use.gpu_mem "
    "results.use.gpu_mem_peak"
)

_LATENCIES = [
    f"{kind}{part}"
    for kind in ("latency", "ttft", "tpot")
    for part in ("", "_min", "_max", "_target", "_p50", "_p90", "_p95", "_p99", "_p999")
]
_SERVING = {
    **dict.fromkeys(
        [*_LATENCIES, "queue_time", "queue_time_max", "issue_delay", "issue_delay_max", "unloaded_latency"], "ms"
    ),
    **dict.fromkeys([f"{name}_ci95" for name in _LATENCIES if "_p" in name or "_t" in name], "ms"),
    **dict.fromkeys(
        ["qps", "offered_qps", "max_qps", "max_qps_ci95", "max_qps_per_process", "offline_qps"], "queries/s"
    ),
    "percentile": "%",
    "tokens_per_second": "tokens/s",
    "prompt_tokens": "tokens",
    "output_tokens": "tokens",
    "queue_length": "queries",
    "queue_length_max": "queries",
    "batch_size": "samples",
    "batch_size_max": "samples",
}

UNITS: dict[str, str] = {
    **{f"results.serving.{name}": unit for name, unit in _SERVING.items()},
    **dict.fromkeys(_MS.split(), "ms"),
    **dict.fromkeys(_BYTES.split(), "bytes"),
    "results.throughput": "instances/s",
    "results.throughput_ci95": "instances/s",
    "results.prefill_throughput": "tokens/s",
    "results.decode_throughput": "tokens/s",
    "results.flops": "1/s",
    "results.energy": "J",
    "results.energy_per_instance": "J",
    "results.power": "W",
    "results.use.time": "s since 1970",
    "results.use.cpu": "% of one core",
    "results.use.cpu_mean": "% of one core",
    "results.use.cpu_peak": "% of one core",
    "results.time_data_start": "s since 1970",
    "results.use.cpu_mhz": "MHz",
    "results.use.cpu_temp": "°C",
    "results.use.power": "W",
    "results.use.energy": "J",
    "results.use.gpu_util": "%",
    "results.use.gpu_power": "W",
    "results.use.gpu_temp": "°C",
    "results.use.gpu_clock": "MHz",
    "results.use.gpu_energy": "J",
    "results.accuracy_top1": "%",
    "results.accuracy_top5": "%",
    "results.epoch_accuracy_top1": "%",
    "results.epoch_accuracy_top5": "%",
    "results.epoch_time": "ms",
    "exp.seconds": "s",
}

_HIGHER = (
    "*throughput*",
    "*qps",
    "results.serving.batch_size*",
    "results.flops",
    "results.mfu",
    "*accuracy*",
    "*_per_second",
    "*speed*",
    "*.gpu_util",
)


def unit_of(key: str) -> str:
    """Unit of a key's values; empty for plain numbers and unknown keys."""
    return UNITS.get(key, "")


def better_of(key: str) -> int:
    """Return 1 if higher is better, -1 if lower is better, as for times, memory and energy."""
    return 1 if any(fnmatch.fnmatchcase(key, pattern) for pattern in _HIGHER) else -1


def check_known(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Reject keys that no experiment has: they would compare, match or ignore nothing.

    Args:
        names: Requested keys.
        known: All keys of the experiments.
        where: Source of the keys, for the error.

    Raises:
        LogError: A key is unknown.
    """
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or "dlbs parse LOG shows the keys of a log"
            raise LogError(f"no experiment has {name!r}", where=where, hint=hint)
