"""The kinds of plots."""

from __future__ import annotations

from dlbs.results.registry import Registry

__all__ = ["KINDS"]

_HERE = "dlbs.results.plots"

KINDS: Registry = {
    "throughput": (f"{_HERE}.throughput:throughput", "lines over replica batches, one for each model"),
    "axes": (f"{_HERE}.axes:free_axes", "any quantities over any parameter, lines and panels of your choice"),
    "weak": (f"{_HERE}.scaling:weak_scaling", "speed-up over devices with the replica batch fixed"),
    "strong": (f"{_HERE}.scaling:strong_scaling", "speed-up over devices with the effective batch fixed"),
    "bars": (f"{_HERE}.bars:bars", "bars side by side, by model"),
    "series": (f"{_HERE}.series:series", "batch times of one run, with what the monitor recorded"),
    "heatmap": (f"{_HERE}.heatmap:heatmap", "models against replica batches"),
    "latency-load": (f"{_HERE}.latency:latency_load", "latency percentiles against offered load, with the knee"),
    "roofline": (f"{_HERE}.roofline:roofline", "operations per second over operations per byte"),
}
