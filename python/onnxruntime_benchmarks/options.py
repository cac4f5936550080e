"""The command line of benchmarks.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark_core.options import Parser, SingleOptions, option, whole

DTYPES = ("float", "float32", "tf32", "float16", "int8", "bfloat16")
PROVIDERS = ("cpu", "cuda")
LEVELS = ("disable", "basic", "extended", "all")


@dataclass(frozen=True)
class OnnxOptions(SingleOptions):
    """Options of one benchmark. `num_warmup_batches` is None for `auto`."""

    forward_only: bool = option(
        True, "Benchmark inference, the only phase that ONNX Runtime supports; false is skipped."
    )
    dtype: str = option(
        "float32",
        "Type of weights, inputs and arithmetic; int8 quantises weights and, at run time, inputs of matrix products (dynamic quantisation). bfloat16 is skipped.",
        choices=DTYPES,
    )
    provider: str = option("cpu", "Execution provider that computes.", choices=PROVIDERS)
    num_threads: int = option(
        0, "Threads that compute one operation on the CPU; 0 is ONNX Runtime's default, one per core.", whole(0)
    )
    inter_threads: int = option(
        1,
        "Operations that run in parallel on the CPU, in separate threads; 1 runs them sequentially.",
        whole(1),
    )
    graph_optimization_level: str = option(
        "all", "Level of ONNX Runtime's graph optimisation before the run.", choices=LEVELS
    )
    model_file: str = option(
        "", "ONNX file to run instead of an exported model; model is then its name in reports.", metavar="FILE"
    )
    cache_dir: str = option("", "Directory of exported models; if empty, ~/.cache/dlbs/onnx.", metavar="DIR")


def parse_onnx_options(arguments: Sequence[str] | None = None) -> OnnxOptions:
    """Parse a command line; an invalid argument prints one line and exits with code 2."""
    parser = Parser(
        OnnxOptions,
        prog="benchmarks.py",
        description="Benchmark a model with ONNX Runtime: warm up, time batches, print results as `__key__= json` lines.",
        example="--model resnet18 --batch_size 32 --dtype int8",
    )
    parsed = parser.parse_args(arguments)
    if parsed.model_file and not parsed.model:
        parsed.model = Path(parsed.model_file).stem
    if not parsed.model:
        parser.error("--model is required, such as --model resnet18, or --model_file")
    return OnnxOptions(**vars(parsed))
