"""What the command lines of all programs here share: spelling, words for values, and options that say what runs where."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NoReturn

__all__ = [
    "MachineOptions", "Parser", "add_machine_options", "boolean", "json_list", "json_object", "positive", "whole",
]  # fmt: skip

DTYPES = ("float", "float32", "tf32", "float16", "bfloat16")
DEVICES = ("auto", "cpu", "gpu", "cuda", "mps", "xpu")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
BACKENDS = ("caffe_lmdb", "image_folder")
LOADERS = ("threads", "processes")
CROPS = ("random_resized", "random_crop_mirror", "center")


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """A model, its data, and how a machine is used: what benchmarks and training have in common. `--help` says what each means."""

    model: str
    model_opts: dict[str, Any] = field(default_factory=dict)
    architecture: str = ""
    weights: str = ""
    batch_size: int = 16
    num_gpus: int = 1
    num_replicas: int = 0
    device: str = "auto"
    dtype: str = "float32"
    amp: bool = False
    compile: str = ""
    data_dir: str = ""
    data_backend: str = "caffe_lmdb"
    num_loader_threads: int = 4
    data_loader: str = "threads"
    crop: str = "auto"
    num_threads: int = 0
    channels_last: bool = False
    deterministic: bool = False
    cudnn_benchmark: bool = True
    cudnn_fastest: bool = False
    seed: int = 1
    json: str = ""
    debug: bool = False


class Parser(argparse.ArgumentParser):
    """Knows a name with dashes and with underscores, says what is close to an unknown flag, and where the help is.

    Args:
        kind: The dataclass of options; it has their defaults.
        kwargs: As of argparse.
    """

    def __init__(self, kind: type[MachineOptions], **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)
        self.defaults = {one.name: one.default for one in fields(kind) if one.default is not MISSING}

    def add(self, name: str, **kwargs: Any) -> None:
        """Add `--name`, with the default that the options have; booleans may stand alone."""
        names = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        if name in self.defaults:
            kwargs.setdefault("default", self.defaults[name])
        if isinstance(kwargs.get("default"), bool):
            kwargs.update(type=boolean, nargs="?", const=True, metavar="true|false")
        self.add_argument(*names, dest=name, **kwargs)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            name = unknown[0].split("=")[0]
            close = difflib.get_close_matches(name, known, n=1)
            self.error(f"unknown argument {name}" + (f": did you mean {close[0]}?" if close else ""))
        return parsed

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} ({self.prog} --help lists the options)", file=sys.stderr)
        sys.exit(2)


def add_machine_options(parser: Parser) -> None:
    """Add the options of `MachineOptions`."""
    add = parser.add
    add("model", default="", help="model, such as alexnet; a wrong name lists what there is")
    add("model_opts", type=json_object, default={}, metavar="JSON", help="options of the model, as a JSON object")
    add("architecture", metavar="FILE", help="Python file that registers models beside those that are here")
    add("weights", metavar="FILE", help="trained weights: an entry (.json), a checkpoint (.pt), or a name of an entry")
    add("batch_size", type=whole(1), help="instances in one batch of one device")
    add("num_gpus", type=whole(0), help="GPUs to use, the first ones of CUDA_VISIBLE_DEVICES; 0 is the CPU")
    add("num_replicas", type=whole(0), help="processes, a model replica each; 0 is one for each GPU, or one on the CPU")
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
    add("data_backend", choices=BACKENDS, help="how the data set is stored")
    add("num_loader_threads", type=whole(0), help="workers that read and decode data; 0 reads between the batches")
    add("data_loader", choices=LOADERS, help="whether these workers are threads or processes")
    add("crop", choices=("auto", *CROPS), help="auto crops at random for training and takes the middle for inference")
    add("num_threads", type=whole(0), help="threads that compute on the CPU; 0 is torch's choice, one for each core")
    add("channels_last", help="lay images out with the colours of a pixel beside each other")
    add("deterministic", help="use only algorithms that give the same result every time")
    add("cudnn_benchmark", help="let cuDNN time its algorithms and keep the fastest")
    add("cudnn_fastest", help="with cudnn_benchmark, let cuDNN try every algorithm, not only the first ten")
    add("seed", type=int, help="seed of weights, inputs and shuffling")
    add("json", metavar="FILE", help="write all results as one JSON object, too")
    add("debug", help="print a traceback also for errors that explain themselves")


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


def positive(value: str) -> float:
    """Convert a finite number of at least 0 for argparse."""
    try:
        number = float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number") from None
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least 0, not {value}")
    return number


def json_list(value: str) -> tuple[str, ...]:
    """Convert a JSON list of words for argparse."""
    found = _json(value, "[]")
    if not isinstance(found, list):
        raise argparse.ArgumentTypeError(f"{value!r} is not a JSON list")
    return tuple(map(str, found))


def json_object(value: str) -> dict[str, Any]:
    """Convert a JSON object for argparse."""
    found = _json(value, "{}")
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{value!r} is not a JSON object")
    return found


def _json(value: str, empty: str) -> Any:
    try:
        return json.loads(value or empty)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not JSON: {error}") from None
