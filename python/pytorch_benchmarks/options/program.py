"""Options of the programs that benchmark frameworks other than PyTorch, in one process on one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.options.option import changed

__all__ = ["ProgramOptions"]


@dataclass(frozen=True, slots=True)
class ProgramOptions:
    """Options that such a program shares with benchmarks.py; subclasses add `dtype` with the types of the framework."""

    model: str = changed(CommonOptions, "model")
    model_opts: dict[str, Any] = changed(CommonOptions, "model_opts")  # noqa: RUF009
    forward_only: bool = changed(BenchmarkOptions, "forward_only")
    data_loader_only: bool = changed(
        BenchmarkOptions, "data_loader_only", help="Skipped: inputs are synthetic, and nothing loads them."
    )
    batch_size: int = changed(CommonOptions, "batch_size", help="Instances in one batch.")
    num_batches: int = changed(BenchmarkOptions, "num_batches")
    num_warmup_batches: int | None = changed(BenchmarkOptions, "num_warmup_batches")
    min_time: float = changed(BenchmarkOptions, "min_time")
    num_replicas: int = changed(CommonOptions, "num_replicas", 1, help="Model replicas; only one is supported.")
    seed: int = changed(CommonOptions, "seed", help="Random seed for weights and inputs.")
    json: str = changed(CommonOptions, "json")
    debug: bool = changed(CommonOptions, "debug")
    dtype: str = changed(CommonOptions, "dtype")
