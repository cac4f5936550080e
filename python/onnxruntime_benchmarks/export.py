"""Write a model of pytorch_benchmarks as an ONNX file: `python -m onnxruntime_benchmarks.export --model resnet18 --out resnet18.onnx`.

Exporting needs PyTorch; running an exported model does not. benchmarks.py exports in a separate process, so that a model runs under the
same conditions whether or not it was just exported.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark_core.crash import guarded
from benchmark_core.exits import SkippedError, UsageError
from benchmark_core.log import Log
from benchmark_core.options import ModelOptions, Parser, changed, option, whole
from benchmark_core.program import built_with, check_writable, end, run
from onnxruntime_benchmarks.exported import METADATA_KEY, Bound, Description
from pytorch_benchmarks.options import CommonOptions

if TYPE_CHECKING:
    from torch import Tensor

    from pytorch_benchmarks.models.model import Model


_DTYPES = ("float32", "float16", "int8")
_MOST_IN_ONE_FILE = 1_500_000_000  # bytes; protocol buffers are limited to 2 GiB, larger weights go into a second file


@dataclass(frozen=True)
class ExportOptions(ModelOptions):
    """One export."""

    batch_size: int = option(16, "Instances in one batch; the exported file accepts only this size.", whole(1))
    dtype: str = option(
        "float32", "Type of weights, inputs and arithmetic; int8 is dynamic quantisation.", choices=_DTYPES
    )
    weights: str = changed(CommonOptions, "weights")
    out: str = option("", "File to write; MODEL.onnx if empty.", metavar="FILE")


def export(options: ExportOptions) -> Description:
    """Build a model as the PyTorch benchmark does, with the same weights, and write it for inference.

    Raises:
        UsageError: The model is unknown, or PyTorch is missing.
        SkippedError: The model cannot be expressed as one graph.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise UsageError(
            "exporting a model needs PyTorch: pip install 'dlbs[torch]', or use --model_file with an ONNX file"
        ) from None
    from pytorch_benchmarks.model_factory import get_model
    from pytorch_benchmarks.models.model import Generator

    torch.manual_seed(options.seed)
    with built_with(options.model_opts, options.model):
        model = get_model(options.model, weights=options.weights, **options.model_opts)
    if isinstance(model, Generator):
        raise SkippedError(f"{options.model} generates text token by token, which one ONNX graph does not")
    dtype = torch.float16 if options.dtype == "float16" else torch.float32
    model = model.eval().to(dtype)
    inputs = _tensors(model, options.batch_size, options.seed)
    given = tuple(tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about PyTorch's own code; users can do nothing about them
        program = torch.onnx.export(model, given if len(given) == 1 else (given,), dynamo=True, verbose=False)
    assert program is not None
    described = Description(
        model.title, model.unit, model.num_parameters(), f"PyTorch {torch.__version__}", _bounds(model, program)
    )
    program.model.metadata_props[METADATA_KEY] = described.as_metadata()
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    out = Path(options.out or f"{options.model.replace(':', '-')}.onnx")
    if options.dtype != "int8":
        program.save(str(out), external_data=size > _MOST_IN_ONE_FILE)
        return described
    whole = out.with_name(f"{out.name}.float32.part{os.getpid()}")
    try:
        program.save(str(whole), external_data=size > _MOST_IN_ONE_FILE)
        _quantise(whole, out, external=size > _MOST_IN_ONE_FILE)
    finally:
        for left in (whole, whole.with_name(f"{whole.name}.data")):
            left.unlink(missing_ok=True)
    return described


def _tensors(model: Model, batch_size: int, seed: int) -> tuple[Tensor, ...]:
    import torch

    inputs = model.inputs(batch_size, torch.Generator().manual_seed(seed))
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _bounds(model: Model, program: Any) -> dict[str, Bound]:
    """Exclusive upper bounds of integer inputs, from a thousand instances."""
    names = [value.name for value in program.model.graph.inputs]
    many = _tensors(model, 1000 if model.input_shape[:1] < (100,) else 16, 0)
    return {name: _bound(tensor) for name, tensor in zip(names, many, strict=True) if not tensor.is_floating_point()}


def _bound(tensor: Tensor) -> Bound:
    """One bound, or one per column if the columns have different ones, such as categories that index different tables."""
    columns = (tensor.flatten(0, -2).amax(0) + 1).tolist() if tensor.dim() > 1 else [int(tensor.max()) + 1]
    # Equal bounds differ in a sample, but by less than a half.
    return columns if 2 * min(columns) <= max(columns) else max(columns)


def _quantise(source: Path, target: Path, *, external: bool) -> None:
    """Convert weights to 8-bit integers; inputs are quantised at run time (dynamic quantisation)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # ONNX Runtime has no convolution with signed weights.
    quantize_dynamic(source, target, weight_type=QuantType.QUInt8, use_external_data_format=external)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export one model and return an exit code."""
    parser = Parser(
        ExportOptions,
        prog="export.py",
        description="Write a model of pytorch_benchmarks as an ONNX file.",
        example="--model resnet18 --batch_size 32 --out resnet18.onnx",
    )
    parsed = parser.parse_args(arguments)
    if not parsed.model:
        parser.error("--model is required, such as --model resnet18")
    options, log = ExportOptions(**vars(parsed)), Log()

    def work() -> None:
        check_writable("--out", options.out)
        described = export(options)
        log("exp.model_title", described.title)
        log("results.model_parameters", described.parameters)

    return run(work, options, log)


if __name__ == "__main__":
    end(guarded(main))
