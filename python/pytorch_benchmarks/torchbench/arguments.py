"""Arguments that every TorchBench model accepts in `extra_args`: precision, memory layout, TorchScript and compilation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

from pytorch_benchmarks.errors import UsageError

__all__ = ["PRECISIONS", "TEST_STAGE", "Decorations", "parse_extra_args"]

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "amp", "amp_fp16", "amp_bf16", "bypass")


class TEST_STAGE(Enum):  # noqa: N801
    """The part of a training step that a context applies to."""

    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Decorations:
    """The requested settings.

    Attributes:
        precision: One of `PRECISIONS`; `bypass` leaves it to the model.
        channels_last: Whether weights and inputs are stored channels-last.
        jit: Whether the network is scripted (TorchScript).
        compiler: Backend of torch.compile; empty for none.
    """

    precision: str = "fp32"
    channels_last: bool = False
    jit: bool = False
    compiler: str = ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"arguments of the model (argv): {message}")


def parse_extra_args(words: Sequence[str], *, precision: str = "fp32") -> tuple[Decorations, list[str]]:
    """Split the words into arguments that every model accepts and arguments of this model.

    Args:
        words: `extra_args` of the model.
        precision: Default precision.

    Raises:
        UsageError: An argument has an invalid value.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--precision", choices=PRECISIONS, default=precision)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--backend", choices=["eager", "jit"], default="eager")
    parser.add_argument("--torchdynamo", "--compile", metavar="BACKEND", default="", dest="compiler")
    parser.add_argument("--inductor", action="store_const", const="inductor", dest="compiler")
    known, rest = parser.parse_known_args(list(words))
    found: dict[str, Any] = {"precision": known.precision, "channels_last": known.channels_last}
    return Decorations(**found, jit=known.backend == "jit", compiler=known.compiler), rest
