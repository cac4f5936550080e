"""A model in ONNX Runtime: its session, its inputs, and the step that runs one batch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmark_core.exits import UsageError
from benchmark_core.program import lacks_memory
from onnxruntime_benchmarks.exported import Bound, Description
from onnxruntime_benchmarks.options import OnnxOptions

_LEVELS = {
    "disable": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_CHECK = (
    "check the driver, CUDA_VISIBLE_DEVICES, and that CUDA and cuDNN have the versions that this onnxruntime-gpu needs"
)
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True, slots=True)
class Running:
    """A session with its inputs on the device that computes.

    Attributes:
        step: Runs it once; outputs stay on the device.
        synchronize: Waits for the outputs.
        outputs: Outputs of the last run, on the host.
    """

    step: Callable[[Any], Any]
    synchronize: Callable[[], Any]
    outputs: Callable[[], list[Any]]


def check_provider(name: str) -> None:
    """Reject an execution provider that this ONNX Runtime lacks, before a model is exported for it.

    Raises:
        UsageError: The provider is missing.
    """
    there = onnxruntime.get_available_providers()
    if _NAMES[name] not in there:
        raise UsageError(
            f"--provider {name}: this ONNX Runtime has {', '.join(there)}; "
            "install onnxruntime-gpu instead of onnxruntime, or use --provider cpu"
        )


def open_session(file: Path, options: OnnxOptions) -> onnxruntime.InferenceSession:
    """Read a model and let ONNX Runtime optimise it.

    Raises:
        UsageError: ONNX Runtime cannot run the file.
    """
    provider = _NAMES[options.provider]
    if options.provider == "cuda" and hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        onnxruntime.preload_dlls()  # CUDA and cuDNN may be installed from PyPI
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = _LEVELS[options.graph_optimization_level]
    settings.intra_op_num_threads = options.num_threads
    settings.inter_op_num_threads = options.inter_threads
    if options.inter_threads > 1:
        settings.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    # float32 is float32 here; --dtype tf32 selects TF32.
    wanted: Any = (
        (provider, {"use_tf32": str(int(options.dtype == "tf32"))}) if options.provider == "cuda" else provider
    )
    try:
        # Its fallback would hide the reason, such as too little memory on the GPU, and open the model a second time.
        session = onnxruntime.InferenceSession(os.fspath(file), settings, providers=[wanted], enable_fallback=0)
    except Exception as error:  # its errors have no other common base class
        if lacks_memory(error):
            raise
        if options.provider == "cuda" and type(error) in {
            RuntimeError,
            ValueError,
        }:  # of the provider; those of models have other types
            raise UsageError(
                f"--provider cuda: ONNX Runtime cannot start it ({_first_line(error)}); {_CHECK}"
            ) from error
        raise UsageError(f"ONNX Runtime cannot run {file}: {' '.join(str(error).split())}") from error
    if session.get_providers()[0] != provider:
        raise UsageError(
            f"--provider {options.provider}: ONNX Runtime cannot start it and would compute on the CPU; {_CHECK}"
        )
    return session


def _first_line(error: Exception) -> str:
    return next(filter(None, (line.strip() for line in str(error).splitlines())), type(error).__name__)[:300]


def described(session: onnxruntime.InferenceSession, file: Path, name: str) -> Description:
    """Describe a model from its metadata, or, for files of other programs, from its graph."""
    found = Description.of(session.get_modelmeta().custom_metadata_map)
    if found is not None:
        return found
    import onnx

    graph = onnx.load(os.fspath(file), load_external_data=False).graph
    floating = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    count = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.data_type in floating)
    return Description(name, parameters=count)


def random_inputs(
    session: onnxruntime.InferenceSession, batch_size: int, seed: int, bounds: dict[str, Bound]
) -> dict[str, Any]:
    """Random arrays by input: numbers with mean 0 and standard deviation 1, or integers from 0 to below their bound (2 by default).

    Raises:
        UsageError: The model has another batch size, a dimension without a size, or inputs of an unsupported type.
    """
    random, made = np.random.default_rng(abs(seed)), {}
    for one in session.get_inputs():
        shape = [
            batch_size if index == 0 and not isinstance(size, int) else size for index, size in enumerate(one.shape)
        ]
        if not all(isinstance(size, int) for size in shape):
            raise UsageError(f"the input {one.name} has shape {one.shape}: only the first dimension may be dynamic")
        if shape and shape[0] != batch_size:
            raise UsageError(f"the model requires batches of {shape[0]}: use --batch_size {shape[0]}")
        if one.type not in _TYPES:
            raise UsageError(f"the input {one.name} has type {one.type}, for which random values are not supported")
        kind = np.dtype(_TYPES[one.type])
        if kind.kind == "f":
            made[one.name] = random.standard_normal(shape, dtype=np.float32).astype(kind)
        else:
            made[one.name] = random.integers(0, bounds.get(one.name, 2), shape).astype(kind)
    return made


def running(session: onnxruntime.InferenceSession, inputs: dict[str, Any], provider: str) -> Running:
    """Copy inputs to the device once, so that only the model is timed."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, provider, 0))
    for one in session.get_outputs():
        binding.bind_output(one.name, provider)

    def step(_: Any) -> None:
        session.run_with_iobinding(binding)

    return Running(step, binding.synchronize_outputs, binding.copy_outputs_to_cpu)
