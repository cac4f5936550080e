"""Kinds of plots."""

from __future__ import annotations

from dlbs.results.registry import Registry

__all__ = ["KINDS"]

_HERE = "dlbs.results.plots"

KINDS: Registry = {
    "throughput": (f"{_HERE}.throughput:throughput", "lines over replica batches, one for each model"),
    "axes": (f"{_HERE}.axes:free_axes", "any quantities over any parameter, lines and panels of your choice"),
    "weak": (f"{_HERE}.scaling:weak_scaling", "speed-up over devices with the replica batch fixed"),
    "strong": (f"{_HERE}.scaling:strong_scaling", "speed-up over devices with the effective batch fixed"),
    "bars": (f"{_HERE}.bars:bars", "grouped bars, by model"),
    "distribution": (f"{_HERE}.distribution:runs", "each run of each experiment, with boxes"),
    "batches": (f"{_HERE}.distribution:batches", "the batch times of each run, as violins"),
    "series": (f"{_HERE}.series:series", "batch times of one run, with what the monitor recorded, or of several"),
    "heatmap": (f"{_HERE}.heatmap:heatmap", "models against replica batches"),
    "latency-throughput": (f"{_HERE}.tradeoff:latency_throughput", "latency against throughput, over replica batches"),
    "latency-load": (f"{_HERE}.latency:latency_load", "latency percentiles against offered load, with the knee"),
    "accuracy": (f"{_HERE}.accuracy:accuracy", "accuracy after each epoch of a training"),
    "history": (f"{_HERE}.history:history", "a quantity over tags or commits, with changes"),
    "roofline": (f"{_HERE}.roofline:roofline", "operations per second over operations per byte"),
}
