"""Labels of axes: names of quantities and parameters, with units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlbs.results.keys import unit_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.text import printable, text

__all__ = ["Quantity", "in_bytes", "label", "name_of", "quantity_of", "titled"]

_NAMES = {
    "exp.accelerator": "accelerator",
    "exp.device_title": "device",
    "exp.dtype": "data type",
    "exp.effective_batch": "effective batch",
    "exp.framework": "framework",
    "exp.framework_version": "framework version",
    "exp.model": "model",
    "exp.num_gpus": "number of GPUs",
    "exp.num_nodes": "number of nodes",
    "exp.num_replicas": "number of replicas",
    "exp.phase": "phase",
    "exp.replica_batch": "replica batch",
    "exp.seconds": "wall-clock time of the experiment",
    "exp.env.git_revision": "commit",
    "db.tags": "tag",
    "pytorch.num_threads": "number of threads",
    "jax.num_threads": "number of threads",
    "onnxruntime.num_threads": "number of threads",
    "runtime.malloc": "memory allocator",
    "results.throughput": "throughput",
    "results.time": "batch time",
    "results.time_median": "median batch time",
    "results.time_p50": "median batch time",
    "results.time_p90": "90th percentile of batch time",
    "results.time_p99": "99th percentile of batch time",
    "results.time_min": "shortest batch time",
    "results.time_max": "longest batch time",
    "results.time_data": "batch time",
    "results.time_build": "time to build the model",
    "results.time_compile": "compile time",
    "results.time_data_wait": "data wait time",
    "results.time_device": "batch time on the device",
    "results.time_first_batch": "time of the first batch",
    "results.time_to_first_batch": "time to the first batch",
    "results.memory_host": "peak host memory",
    "results.memory_device_allocated": "peak device memory, allocated",
    "results.memory_device_reserved": "peak device memory, reserved",
    "results.flops": "performance",
    "results.mfu": "model FLOP utilisation",
    "results.energy": "energy",
    "results.energy_per_instance": "energy per instance",
    "results.power": "mean power",
    "results.accuracy_top1": "top-1 accuracy",
    "results.accuracy_top5": "top-5 accuracy",
    "results.serving.qps": "query rate",
    "results.serving.max_qps": "highest query rate",
    "results.serving.offered_qps": "offered load",
    "results.serving.latency_p50": "median latency",
    "results.serving.latency_p90": "90th percentile of latency",
    "results.serving.latency_p99": "99th percentile of latency",
    "results.serving.latency_target": "bounded latency percentile",
    "results.serving.ttft_p99": "99th percentile of the time to the first token",
    "results.serving.tpot_p99": "99th percentile of the time per output token",
    "results.serving.tokens_per_second": "tokens",
    "results.epoch_accuracy_top1": "top-1 accuracy",
    "results.epoch_accuracy_top5": "top-5 accuracy",
    "results.epoch_loss": "training loss",
    "results.loss": "loss",
}
_UNITS = {"exp.replica_batch": "instances", "exp.effective_batch": "instances", "results.flops": "FLOP/s"}
_LONGEST = 80  # characters


@dataclass(frozen=True, slots=True)
class Quantity:
    """Label and scale of a quantity or parameter on an axis.

    Attributes:
        name: Its name, or its key if it has none.
        unit: Unit on the axis; empty for texts and counts.
        factor: Factor from the value in the log to the number on the axis.
    """

    name: str
    unit: str = ""
    factor: float = 1.0

    def __str__(self) -> str:
        return label(f"{self.name}, {self.unit}" if self.unit else self.name)


def label(words: str, longest: int | None = _LONGEST) -> str:
    """Clean a text for a figure: one line, without control characters, and truncated unless `longest` is None."""
    words = printable(words).replace("\n", " ")
    return words if longest is None or len(words) <= longest else words[: longest - 3] + "…"


def name_of(key: str) -> str:
    """Name of a quantity or parameter, or its key if it has none."""
    return _NAMES.get(key, key)


def quantity_of(key: str, records: Sequence[Record]) -> Quantity:
    """Name of a quantity with one unit for all records.

    Args:
        key: Key of a parameter or result.
        records: The drawn records; their values select the prefix of the unit, such as MiB or GiB.
    """
    name, unit = name_of(key), _UNITS.get(key) or unit_of(key)
    if key == "results.throughput":
        instances = {text(record["results.unit"]) for record in records if record.get("results.unit")}
        unit = f"{instances.pop() if len(instances) == 1 else 'instances'}/s"
    if key.startswith("results.time") and any(record.get("command.line") for record in records):
        name = name.replace("batch time", "time").replace("batch", "run")  # of a command
    if key == "results.mfu":
        return Quantity(name, "%", 100)
    values = (abs(value) for record in records if (value := number(record, key)) is not None)
    if unit == "bytes":
        return Quantity(name, *in_bytes(max(values, default=0.0)))
    if unit == "FLOP/s":
        units = ("FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s")
        return Quantity(name, *_prefixed(max(values, default=0.0), 1000, units))
    return Quantity(name, unit)


def in_bytes(greatest: float) -> tuple[str, float]:
    """Unit for numbers of bytes up to a maximum, and the factor to it."""
    return _prefixed(greatest, 1024, ("bytes", "KiB", "MiB", "GiB", "TiB"))


def _prefixed(greatest: float, step: int, units: Sequence[str]) -> tuple[str, float]:
    """Unit in which the maximum has the fewest digits before the decimal point, and the factor to it."""
    power = 0
    while power < len(units) - 1 and greatest >= step ** (power + 1):
        power += 1
    return units[power], 1 / step**power


def titled(words: str) -> str:
    """Capitalise a title, unless it begins with a key or an abbreviation."""
    first = words.split(" ")[0].rstrip(",:")
    return words[:1].upper() + words[1:] if first.replace("-", "").isalnum() and first.islower() else words
