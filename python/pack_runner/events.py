"""Events that a script reports under voir, and the log values computed from them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["Events", "event_of", "read_events"]

_MIB = 1 << 20
_MOST_LOSSES = 1000


class Events:
    """The events of a script.

    Args:
        batch: Batch size, to compute the batch time; 0 if unknown.

    Attributes:
        stopped: Whether it requested to be ended.
    """

    def __init__(self, batch: int = 0) -> None:
        self.batch = batch
        self.rates: dict[str, list[float]] = {}
        self.units = ""
        self.losses: list[float] = []
        self.gpus: dict[str, dict[str, list[float]]] = {}
        self.errors: list[str] = []
        self.stopped = False

    def take(self, event: Any) -> None:
        """Process one event; unknown events are ignored."""
        if not isinstance(event, dict):
            return
        task = str(event.get("task", ""))
        rate = _number(event.get("rate"))
        if rate is not None and rate > 0:
            self.rates.setdefault(task, []).append(rate)
            self.units = str(event.get("units", self.units))
        loss = _number(event.get("loss"))
        if loss is not None:
            self.losses.append(loss)
        gpus = event.get("gpudata")
        if isinstance(gpus, dict):
            for name, values in gpus.items():
                if isinstance(values, dict):
                    self._take_gpu(str(name), values)
        kind, data = event.get("$event"), event.get("$data")
        if kind == "stop":  # enough was measured: the program that started the script has to end it
            self.stopped = True
        if kind in {"error", "overseer_error"} and isinstance(data, dict) and data.get("type") != "StopProgram":
            self.errors.append(f"{data.get('type')}: {_without_advice(str(data.get('message')))}")

    def _take_gpu(self, name: str, values: dict[str, Any]) -> None:
        memory = values.get("memory")
        found = {
            "mem": _number(memory[0]) if isinstance(memory, list) and memory else None,
            "util": _number(values.get("load")),
            "power": _number(values.get("power")),
            "temp": _number(values.get("temperature")),
        }
        series = self.gpus.setdefault(name, {})
        for key, value in found.items():
            if value is not None:
                series.setdefault(key, []).append(value * {"mem": _MIB, "util": 100}.get(key, 1))

    def results(self) -> dict[str, Any]:
        """Log values; see docs/log-format.md. Training is preferred, then the task with most measurements."""
        found: dict[str, Any] = {}
        if self.rates:
            task = "train" if "train" in self.rates else max(self.rates, key=lambda name: len(self.rates[name]))
            rates = self.rates[task]
            mean = statistics.fmean(rates)
            found["results.throughput"] = mean
            found["results.throughput_data"] = rates
            found["results.throughput_std"] = statistics.stdev(rates) if len(rates) > 1 else None
            found["results.unit"] = self.units.removesuffix("/s") or "items"
            found["results.task"] = task
            if self.batch:
                times = [1000 * self.batch / rate for rate in rates]
                found["results.time"] = statistics.fmean(times)
                found["results.time_std"] = statistics.stdev(times) if len(times) > 1 else None
                found["results.time_data"] = times
        if self.losses:
            found["results.loss"] = self.losses[-1]
            found["results.loss_data"] = self.losses[-_MOST_LOSSES:]
        names = sorted(self.gpus, key=lambda name: (len(name), name))
        for key in ("mem", "util", "power", "temp"):
            rows = [self.gpus[name].get(key, []) for name in names]
            if any(rows):
                found[f"results.use.gpu_{key}"] = rows
        if "results.use.gpu_mem" in found:
            found["results.use.gpu_mem_peak"] = [max(row, default=0.0) for row in found["results.use.gpu_mem"]]
        return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        return None
    return number if math.isfinite(number) else None


def _without_advice(message: str) -> str:
    """A message without torch's advice to load files with `weights_only=False`, which would run code in them."""
    return "a file cannot be read as tensors" if "Weights only load failed" in message else message


def read_events(stream: IO[str]) -> Iterator[Any]:
    """Events, one JSON object per line; invalid lines are ignored, such as that of a program killed while writing."""
    for line in stream:
        event = event_of(line)
        if event is not None:
            yield event


def event_of(line: str) -> Any:
    """The event of a line; None if the line is not one."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # RecursionError: thousands of brackets
        return None
