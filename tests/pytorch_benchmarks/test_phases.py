"""Steps can be recorded as CUDA graphs: they neither wait for the device nor copy from the host, which a recording cannot contain.

PyTorch's device `meta` computes shapes only; the operations of a step are the same there. tests/gpu/test_steps.py records them on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark_core.exits import UsageError
from benchmark_core.program import explain
from pytorch_benchmarks.devices import map_tensors
from pytorch_benchmarks.model_factory import builder_of, get_model, list_models
from pytorch_benchmarks.models.model import Generator
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import inference_step, training_step
from tests.pytorch_benchmarks.models.smaller import FAMILIES

# Their result, or its shape, is a value on the host; lift_fresh begins a tensor made of numbers of Python.
WAITING = {
    *("aten._local_scalar_dense", "aten.is_nonzero", "aten.equal", "aten.nonzero", "aten.masked_select"),
    *("aten._unique2", "aten.unique_dim", "aten.unique_consecutive", "aten.repeat_interleave", "aten.bincount"),
    "aten.lift_fresh",
}
INDEXING = {"aten.index", "aten.index_put", "aten.index_put_"}  # by truth values, they count these first


class Recording(TorchDispatchMode):
    """Notes the operations that a graph cannot contain."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        by_truth = name in INDEXING and any(tensor.dtype in {torch.bool, torch.uint8} for tensor in given[1:])
        if name in WAITING or by_truth:
            self.refused.add(name)
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if any(tensor.device.type == "cpu" for tensor in [*given, *made]):
            self.refused.add(f"{name} on the host")
        return result


def refused(step: Callable[[Any], Any], batch: Any) -> set[str]:
    """What a graph of a step could not contain; the first step allocates and may do more."""
    step(batch)
    with Recording() as recording:
        step(batch)
    return recording.refused


def test_every_module_of_models_is_a_family() -> None:
    modules = {builder_of(name).__module__ for name in list_models()}
    ours = {
        module for module in modules if module.startswith("pytorch_benchmarks.models.")
    }  # other tests register more
    assert {builder_of(name).__module__ for name in FAMILIES} == ours


@pytest.mark.integration  # for its time
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_neither_waits_nor_copies_from_the_host(name: str) -> None:
    with torch.device("meta"):
        model = get_model(name)
    generator = torch.Generator().manual_seed(1)
    batch = map_tensors(lambda tensor: tensor.to("meta"), (model.inputs(2, generator), model.targets(2, generator)))
    assert refused(training_step(model, model), batch) == set()
    if not isinstance(model, Generator):  # which generate token by token
        assert refused(inference_step(model), batch) == set()


STEPS: dict[str, Callable[[Tensor], Any]] = {
    "aten._local_scalar_dense": lambda x: x.sum().item(),
    "aten.index": lambda x: x[x > 0],
    "aten.lift_fresh": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "aten._to_copy on the host": lambda x: x.to("cpu", torch.float64),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_a_graph_cannot_contain_is_noted(name: str) -> None:
    with Recording() as recording:
        STEPS[name](torch.ones(3))
    assert name in recording.refused


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: operation not permitted when stream is capturing",
        "CUDA error: operation failed due to a previous error during capture",
        "CUDA error: capturing stream has unjoined work",
        "CUDA error: dependency created on uncaptured work in another stream",
        "CUDA error: operation would make the legacy stream depend on a capturing blocking stream",
        "Cannot call CUDAGeneratorImpl::current_seed during CUDA graph capture",
        "Offset increment outside graph capture encountered unexpectedly.",
        "Attempting CUDA graph capture of step() for an instance of Adam but param_groups' capturable is False.",
    ],
)
def test_what_cannot_be_recorded_is_a_usage_error(text: str) -> None:
    error = explain(RuntimeError(text), parse_benchmark_options(["--model=m", "--cuda_graphs=true"]))
    assert isinstance(error, UsageError)
    assert "omit --cuda_graphs" in str(error)


def test_inference_changes_no_weights_and_records_no_gradients() -> None:
    model = get_model("resnet18")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output = inference_step(model)((model.inputs(2, torch.Generator()), None))
    assert not output.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
