"""Logs as a sweep leaves them, with known numbers in them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmark_core.log import key_line
from dlbs.config.load import load_config
from dlbs.results.runs import Runs

__all__ = ["make_logs", "make_record", "write_log"]


def write_log(path: Path, record: dict[str, Any], output: str = "ordinary output") -> Path:
    """Write a log with these values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [output, *(key_line(key, value) for key, value in record.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_record(
    model: str = "alexnet",
    batch: int = 16,
    *,
    time: float = 10.0,
    noise: float = 0.02,
    repeat: int = 1,
    gpus: int = 1,
    status: str = "ok",
    batches: int = 50,
    seed: object = 0,
    **more: Any,
) -> dict[str, Any]:
    """One experiment whose mean batch time is about `time` ms."""
    source = random.Random(repr((model, batch, repeat, gpus, seed)))
    record: dict[str, Any] = {
        "exp.framework": "pytorch", "exp.phase": "training", "exp.model": model, "exp.replica_batch": batch,
        "exp.effective_batch": batch * gpus, "exp.dtype": "float32", "exp.repeat": repeat, "exp.num_gpus": gpus,
        "exp.num_replicas": gpus, "exp.gpus": ",".join(map(str, range(gpus))), "exp.device_type": "gpu",
        "exp.device_title": "Imaginary GPU", "exp.id": f"{model}-{batch}-{repeat}-{gpus}",
        "exp.start_time": f"2026-11-21T10:{repeat:02}:00", "exp.env.host": "node1",
    }  # fmt: skip
    if status == "ok":
        times = [time * source.gauss(1, noise) for _ in range(batches)]
        mean = sum(times) / len(times)
        record |= {
            "results.time": mean, "results.time_std": noise * mean, "results.time_data": times, "results.time_p99": max(times),
            "results.throughput": 1000 * batch * gpus / mean, "results.unit": "images", "results.memory_host": batch * (1 << 20),
        }  # fmt: skip
    record |= {
        "exp.dlbs_version": "0.1.0",
        "exp.status": status,
        "exp.status_msg": "" if status == "ok" else "exit code 1",
    }
    return {**record, **{key.replace("__", "."): value for key, value in more.items()}}


def make_logs(directory: Path, records: Iterable[dict[str, Any]], output: str = "ordinary output") -> Path:
    """Write a log for each record."""
    for number, record in enumerate(records):
        write_log(directory / f"{number:04}.log", record, output)
    return directory


def declared(records: Iterable[Mapping[str, Any]]) -> Runs:
    """Records as runs with the declarations of the shipped configuration."""
    return Runs.of(records, load_config().declarations)
