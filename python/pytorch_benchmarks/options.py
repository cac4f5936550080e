"""The command line of benchmarks.py."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

__all__ = ["Options", "boolean", "parse_options", "whole"]

DTYPES = ("float", "float32", "tf32", "float16", "bfloat16")
DEVICES = ("auto", "cpu", "gpu", "cuda", "mps", "xpu")
SYNTHETIC = ("synthetic/device", "synthetic/pinned", "synthetic/pageable")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
PASSES = ("memory", "flops")
BACKENDS = ("caffe_lmdb", "image_folder")
LOADERS = ("threads", "processes")
CROPS = ("random_resized", "random_crop_mirror", "center")


@dataclass(frozen=True, slots=True)
class Options:
    """One benchmark, as asked for. See `benchmarks.py --help` for what each option means.

    `num_warmup_batches` is None for `auto`.
    """

    model: str
    model_opts: dict[str, Any] = field(default_factory=dict)
    forward_only: bool = False
    batch_size: int = 16
    num_batches: int = 10
    num_warmup_batches: int | None = 2
    min_time: float = 0.0
    sync: str = "each"
    num_gpus: int = 1
    num_replicas: int = 0
    device: str = "auto"
    dtype: str = "float32"
    amp: bool = False
    compile: str = ""
    cuda_graphs: bool = False
    data: str = "auto"
    data_dir: str = ""
    data_backend: str = "caffe_lmdb"
    data_shuffle: bool = False
    num_loader_threads: int = 4
    data_loader: str = "threads"
    data_loader_only: bool = False
    crop: str = "auto"
    num_threads: int = 0
    channels_last: bool = False
    deterministic: bool = False
    cudnn_benchmark: bool = True
    cudnn_fastest: bool = False
    seed: int = 1
    passes: tuple[str, ...] = PASSES
    peak_tflops: float = 0.0
    profile: str = ""
    json: str = ""
    debug: bool = False
    pack: str = ""
    pack_args: tuple[str, ...] = ()
    own_batch: bool = False
    jit: bool = False


class _Parser(argparse.ArgumentParser):
    """Says what is close to an unknown flag, and where the help is."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            name = unknown[0].split("=")[0]
            close = difflib.get_close_matches(name, known, n=1)
            self.error(f"unknown argument {name}" + (f": did you mean {close[0]}?" if close else ""))
        if parsed.pack and not parsed.model:
            parsed.model = os.path.basename(os.path.abspath(parsed.pack))
        if not parsed.model:
            self.error("--model is needed, such as --model alexnet")
        return parsed

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (benchmarks.py --help lists the options)", file=sys.stderr)
        sys.exit(2)


def boolean(value: str) -> bool:
    """Convert `true` or `false` for argparse."""
    word = value.strip().lower()
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise argparse.ArgumentTypeError(f"{value!r} is neither true nor false")


def whole(minimum: int) -> Callable[[str], int]:
    """A converter of whole numbers of at least `minimum` for argparse."""

    def convert(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is not a whole number") from None
        if number < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, not {number}")
        return number

    return convert


def _or_auto(convert: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda value: None if value == "auto" else convert(value)


def _positive(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number") from None
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least 0, not {value}")
    return number


def _passes(value: str) -> tuple[str, ...]:
    names = tuple(name for name in value.split(",") if name and name != "none")
    for name in names:
        if name not in PASSES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PASSES)}, none")
    return names


def _words(value: str) -> tuple[str, ...]:
    try:
        found = json.loads(value) if value else []
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not JSON: {error}") from None
    if not isinstance(found, list):
        raise argparse.ArgumentTypeError(f"{value!r} is not a JSON list")
    return tuple(map(str, found))


def _object(value: str) -> dict[str, Any]:
    try:
        found = json.loads(value) if value else {}
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{value!r} is not a JSON object")
    return found


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Parse a command line; `--name`, `--name-with-dashes` and `--name_with_underscores` are the same.

    A wrong argument prints one line and exits with code 2.
    """
    parser = _Parser(
        prog="benchmarks.py",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Benchmark a PyTorch model: warm up, time batches, print results as `__key__= json` lines.",
        epilog="Example: benchmarks.py --model resnet18 --forward_only true --batch_size 32 --dtype bfloat16",
    )

    def add(name: str, **kwargs: Any) -> None:
        names = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        if "default" not in kwargs and name not in {"model", "model_opts"}:
            kwargs["default"] = _DEFAULTS[name]
        if isinstance(kwargs.get("default"), bool):
            kwargs.update(type=boolean, nargs="?", const=True, metavar="true|false")
        parser.add_argument(*names, dest=name, **kwargs)

    add("model", default="", help="model to benchmark, such as alexnet; a wrong name lists what there is")
    add("model_opts", type=_object, default={}, metavar="JSON", help="options of the model, as a JSON object")
    add("forward_only", help="benchmark inference (true) or training (false)")
    add("batch_size", type=whole(1), help="instances in one batch of one device")
    add("num_batches", type=whole(1), help="batches that are timed")
    add(
        "num_warmup_batches",
        type=_or_auto(whole(0)),
        metavar="N|auto",
        help="batches that run before the timed ones; auto runs them until their times are steady",
    )
    add(
        "min_time",
        type=_positive,
        metavar="SECONDS",
        help="time batches for so long, instead of a number of them; 0: num_batches",
    )
    add(
        "sync",
        choices=["each", "end"],
        help="wait for the device before and after each batch, or once at the end, as training loops do",
    )
    add("num_gpus", type=whole(0), help="GPUs to use, the first ones of CUDA_VISIBLE_DEVICES; 0 is the CPU")
    add(
        "num_replicas",
        type=whole(0),
        help="processes, one model replica each; 0 is one for each GPU, or one on the CPU",
    )
    add("device", choices=DEVICES, help="gpu is whichever kind PyTorch finds; auto is that, or else the CPU")
    add("dtype", choices=DTYPES, help="type of weights, inputs and arithmetic; float is float32")
    add("amp", help="keep weights in float32 and compute in --dtype where that is safe (autocast, scaled gradients)")
    add(
        "compile",
        nargs="?",
        const="default",
        choices=["", *COMPILE_MODES],
        metavar="MODE",
        help=f"compile the model with torch.compile: {', '.join(COMPILE_MODES)}",
    )
    add("cuda_graphs", help="record the work of a batch as a CUDA graph and replay it")
    add("data", choices=["auto", *SYNTHETIC], help="where synthetic data lie: on the device (auto) or in host memory")
    add("data_dir", metavar="DIR", help="directory of a data set; without it, inputs are synthetic")
    add("data_backend", choices=BACKENDS, help="how the data set is stored")
    add("data_shuffle", help="read instances in a random order")
    add("num_loader_threads", type=whole(0), help="workers that read and decode data; 0 reads between the batches")
    add("data_loader", choices=LOADERS, help="whether these workers are threads or processes")
    add("data_loader_only", help="time the loading of data alone; no model runs")
    add("crop", choices=("auto", *CROPS), help="auto crops at random for training and takes the middle for inference")
    add(
        "num_threads", type=whole(0), help="threads that compute on the CPU; 0 is torch's own choice, one for each core"
    )
    add("channels_last", help="lay images out with the colours of a pixel beside each other")
    add("deterministic", help="use only algorithms that give the same result every time")
    add("cudnn_benchmark", help="let cuDNN time its algorithms and keep the fastest")
    add("cudnn_fastest", help="with cudnn_benchmark, let cuDNN try every algorithm, not only the first ten")
    add("seed", type=int, help="seed of weights, inputs and shuffling")
    add(
        "passes",
        type=_passes,
        metavar="memory,flops|none",
        help="what is measured after the timed batches, each on a batch of its own",
    )
    add(
        "peak_tflops",
        type=_positive,
        metavar="TFLOPS",
        help="peak of the device in this precision, for its utilisation; 0: from a table",
    )
    add("profile", metavar="FILE", help="write a Chrome trace of three more batches")
    add("json", metavar="FILE", help="write all results as one JSON object, too")
    add("pack", metavar="DIR", help="directory with a class Model(BenchmarkModel), which brings its own data and steps")
    add("pack_args", type=_words, metavar="JSON", help="with --pack, arguments of the model, as a JSON list")
    add("own_batch", help="with --pack, the batch size that the model has by default, instead of --batch_size")
    add("jit", help="with --pack, let the model script itself")
    add("debug", help="print a traceback also for errors that explain themselves")
    return Options(**vars(parser.parse_args(arguments)))


_DEFAULTS: dict[str, Any] = {
    name: default.default
    for name, default in Options.__dataclass_fields__.items()
    if name not in {"model", "model_opts"}
}
