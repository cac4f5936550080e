"""The command line of benchmarks.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytorch_benchmarks.options.kinds import whole
from pytorch_benchmarks.options.option import option
from pytorch_benchmarks.options.parser import Parser
from pytorch_benchmarks.options.program import ProgramOptions

__all__ = ["DTYPES", "JaxOptions", "parse_jax_options"]

DTYPES = ("float", "float32", "tf32", "float16", "bfloat16", "int8")
DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True, slots=True)
class JaxOptions(ProgramOptions):
    """Options of one benchmark. `num_warmup_batches` is None for `auto`."""

    dtype: str = option(
        "float32",
        "Type of weights, inputs and arithmetic; float is float32. float16 in training, and int8, are skipped.",
        choices=DTYPES,
    )
    device: str = option(
        "auto", "Device that computes; auto is the GPU if JAX finds one, or else the CPU.", choices=DEVICES
    )
    num_threads: int = option(
        0, "CPUs that the process is bound to, and thus its compute threads; 0 uses all.", whole(0)
    )


def parse_jax_options(arguments: Sequence[str] | None = None) -> JaxOptions:
    """Parse a command line; an invalid argument prints one line and exits with code 2."""
    parser = Parser(
        JaxOptions,
        prog="benchmarks.py",
        description="Benchmark a JAX model: compile it, warm up, time batches, print results as `__key__= json` lines.",
        example="--model resnet18 --forward_only true --batch_size 32 --dtype bfloat16",
    )
    parsed = parser.parse_args(arguments)
    if not parsed.model:
        parser.error("--model is required, such as --model resnet18")
    return JaxOptions(**vars(parsed))
