"""Every model on the GPU, in two precisions: it infers what it infers on a CPU, and it learns."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pytorch_benchmarks.devices import Precision, map_tensors, set_backends
from pytorch_benchmarks.model_factory import list_models
from pytorch_benchmarks.models.layers import DropPath
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import inference_step, training_step
from tests.gpu.work import small_model
from tests.pytorch_benchmarks.models.smaller import SMALLER

TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 0.15}
STEPS = 12
_OPTIONS: dict[str, dict[str, Any]] = {**SMALLER, "tinyllama_1b": {"sequence_length": 16}}
_GPU_MEMORY = {"tinyllama_1b": 24e9}  # bytes, for training

# The whole list takes minutes there; tests/pytorch_benchmarks/models/ and tests/pytorch_benchmarks/test_checks.py have it.
ON_CPU = ["deep_mnist"]
CASES = [("cpu", name) for name in ON_CPU] + [
    pytest.param("cuda", name, marks=pytest.mark.gpu) for name in list_models()
]


@pytest.fixture
def place(request: pytest.FixtureRequest, kind: str) -> torch.device:
    """The device of a case."""
    if kind == "cpu":
        return torch.device("cpu")
    found: torch.device = request.getfixturevalue("cuda")
    return found


def without_noise(model: Model) -> Model:
    """Leave nothing out by chance: it would hide the trend of a few steps."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.probability = 0.0
    return model


def outputs(model: Model, batch: Any, dtype: torch.dtype) -> list[Tensor]:
    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    inputs = map_tensors(cast, batch[0])
    return [leaf.double().cpu() for leaf in tree_leaves(inference_step(model)((inputs, None)))]


@pytest.mark.integration
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_it_infers_what_it_infers_on_a_cpu_and_learns(place: torch.device, name: str, figures: dict[str, Any]) -> None:
    set_backends(parse_benchmark_options(["--model=m", "--cudnn_benchmark=false"]), tf32=False)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, batches = small_model(name, torch.device("cpu"), **_OPTIONS.get(name, {}))
    batch = next(batches)
    expected = outputs(model, batch, torch.float32)
    model.to(place)
    moved = map_tensors(lambda tensor: tensor.to(place), batch)
    for dtype, tolerance in TOLERANCE.items():
        found = outputs(model.to(dtype), moved, dtype)
        errors = [
            float((one - same).norm() / same.norm().clamp(min=1e-12)) for one, same in zip(found, expected, strict=True)
        ]
        figures[f"error in {str(dtype).removeprefix('torch.')}"] = max(errors)
        assert max(errors) < tolerance
    model.to(torch.float32)
    if place.type == "cuda" and torch.cuda.get_device_properties(place).total_memory < _GPU_MEMORY.get(name, 0):
        pytest.skip(f"training {name} needs {_GPU_MEMORY[name] / 1e9:.0f} GB of memory; inference is right")
    without_noise(model)
    for dtype in (None, torch.bfloat16):
        step = training_step(model, model, Precision(torch.float32, dtype, False, place.type))
        losses = [float(step(moved)) for _ in range(STEPS)]
        assert losses[-1] < losses[0], losses
