"""The command line of benchmarks.py."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytorch_benchmarks.arguments import MachineOptions, Parser, add_machine_options, json_list, positive, whole

__all__ = ["Options", "parse_options"]

SYNTHETIC = ("synthetic/device", "synthetic/pinned", "synthetic/pageable")
PASSES = ("memory", "flops")


@dataclass(frozen=True, slots=True)
class Options(MachineOptions):
    """One benchmark, as asked for. See `benchmarks.py --help` for what each option means.

    `num_warmup_batches` is None for `auto`.
    """

    forward_only: bool = False
    num_batches: int = 10
    num_warmup_batches: int | None = 2
    min_time: float = 0.0
    sync: str = "each"
    cuda_graphs: bool = False
    data: str = "auto"
    data_shuffle: bool = False
    data_loader_only: bool = False
    passes: tuple[str, ...] = PASSES
    peak_tflops: float = 0.0
    profile: str = ""
    pack: str = ""
    pack_args: tuple[str, ...] = ()
    own_batch: bool = False
    jit: bool = False


def _or_auto(convert: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda value: None if value == "auto" else convert(value)


def _passes(value: str) -> tuple[str, ...]:
    names = tuple(name for name in value.split(",") if name and name != "none")
    for name in names:
        if name not in PASSES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PASSES)}, none")
    return names


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Parse a command line; `--name`, `--name-with-dashes` and `--name_with_underscores` are the same.

    A wrong argument prints one line and exits with code 2.
    """
    parser = Parser(
        Options,
        prog="benchmarks.py",
        description="Benchmark a PyTorch model: warm up, time batches, print results as `__key__= json` lines.",
        epilog="Example: benchmarks.py --model resnet18 --forward_only true --batch_size 32 --dtype bfloat16",
    )
    add_machine_options(parser)
    add = parser.add
    add("forward_only", help="benchmark inference (true) or training (false)")
    add("num_batches", type=whole(1), help="batches that are timed")
    add(
        "num_warmup_batches",
        type=_or_auto(whole(0)),
        metavar="N|auto",
        help="batches that run before the timed ones; auto runs them until their times are steady",
    )
    add(
        "min_time",
        type=positive,
        metavar="SECONDS",
        help="time batches for so long, instead of a number of them; 0: num_batches",
    )
    add(
        "sync",
        choices=["each", "end"],
        help="wait for the device before and after each batch, or once at the end, as training loops do",
    )
    add("cuda_graphs", help="record the work of a batch as a CUDA graph and replay it")
    add("data", choices=["auto", *SYNTHETIC], help="where synthetic data lie: on the device (auto) or in host memory")
    add("data_dir", metavar="DIR", help="directory of a data set; without it, inputs are synthetic")
    add("data_shuffle", help="read instances in a random order")
    add("data_loader_only", help="time the loading of data alone; no model runs")
    add(
        "passes",
        type=_passes,
        metavar="memory,flops|none",
        help="what is measured after the timed batches, each on a batch of its own",
    )
    add(
        "peak_tflops",
        type=positive,
        metavar="TFLOPS",
        help="peak of the device in this precision, for its utilisation; 0: from a table",
    )
    add("profile", metavar="FILE", help="write a Chrome trace of three more batches")
    add("pack", metavar="DIR", help="directory with a class Model(BenchmarkModel), which brings its own data and steps")
    add("pack_args", type=json_list, metavar="JSON", help="with --pack, arguments of the model, as a JSON list")
    add("own_batch", help="with --pack, the batch size that the model has by default, instead of --batch_size")
    add("jit", help="with --pack, let the model script itself")
    parsed = parser.parse_args(arguments)
    if parsed.pack and not parsed.model:
        parsed.model = os.path.basename(os.path.abspath(parsed.pack))
    if not parsed.model:
        parser.error("--model is needed, such as --model alexnet")
    return Options(**vars(parsed))
