"""The command line of benchmarks.py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pytorch_benchmarks.options.kinds import json_list, names_of, optional, positive, whole
from pytorch_benchmarks.options.option import option
from pytorch_benchmarks.options.parser import Parser
from pytorch_benchmarks.options.serving import ServingOptions

__all__ = ["BenchmarkOptions", "parse_benchmark_options"]

SYNTHETIC = ("synthetic/device", "synthetic/pinned", "synthetic/pageable")
PASSES = ("memory", "flops")


@dataclass(frozen=True, slots=True)
class BenchmarkOptions(ServingOptions):
    """Options of one benchmark. `num_warmup_batches` is None for `auto`."""

    forward_only: bool = option(False, "Benchmark inference (true) or training (false).")
    num_batches: int = option(10, "Number of timed batches.", whole(1))
    num_warmup_batches: int | None = option(
        2,
        "Warm-up batches before the timed ones; auto runs them until their times are steady.",
        optional(whole(0), "auto"),
        metavar="N|auto",
    )
    min_time: float = option(
        0.0,
        "Minimum total seconds of the timed batches; 0 runs a fixed number of batches.",
        positive,
        metavar="SECONDS",
    )
    sync: str = option(
        "each",
        "When to wait for the device: before and after each batch, or once at the end, as training loops do.",
        choices=("each", "end"),
    )
    cuda_graphs: bool = option(False, "Capture the work of a batch as a CUDA graph and replay it.")
    data: str = option(
        "auto",
        "Source of the data: synthetic in device memory (synthetic, synthetic/device) or in host memory (synthetic/pinned, synthetic/pageable); auto reads data_dir, or is synthetic if that is empty.",
        choices=("auto", "synthetic", *SYNTHETIC),
    )
    data_shuffle: bool = option(False, "Read instances in random order, a new one in each epoch.")
    data_loader_only: bool = option(False, "Time only the loading of data, without a model.")
    passes: tuple[str, ...] = option(
        PASSES,
        "Measurements after the timed batches, each on a separate batch: memory, flops, both, or none.",
        names_of(PASSES),
        metavar="NAMES",
    )
    peak_tflops: float = option(
        0.0,
        "Peak of the device in this precision, in 10^12 operations per second, to compute its utilisation; 0 takes it from a table.",
        positive,
        metavar="TFLOPS",
    )
    profile: str = option("", "File for a Chrome trace of three batches that run after the timed ones.", metavar="FILE")
    pack: str = option(
        "", "Directory with a class Model(BenchmarkModel), which has its own data and steps.", metavar="DIR"
    )
    pack_args: tuple[str, ...] = option((), "Arguments of the pack's model, as a JSON list.", json_list, metavar="JSON")
    own_batch: bool = option(False, "Use the default batch size of the pack's model.")
    jit: bool = option(False, "Let the pack's model script itself (TorchScript).")


def parse_benchmark_options(arguments: Sequence[str] | None = None) -> BenchmarkOptions:
    """Parse a command line; an invalid argument prints one line and exits with code 2."""
    parser = Parser(
        BenchmarkOptions,
        prog="benchmarks.py",
        description="Benchmark a PyTorch model: warm up, time batches, print results as `__key__= json` lines.",
        example="--model resnet18 --forward_only true --batch_size 32 --dtype bfloat16",
    )
    parsed = parser.parse_args(arguments)
    if parsed.pack and not parsed.model:
        parsed.model = os.path.basename(os.path.abspath(parsed.pack))
    if not parsed.model:
        parser.error("--model is required, such as --model alexnet")
    return BenchmarkOptions(**vars(parsed))
