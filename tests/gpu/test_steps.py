"""The ways in which a step can run give the same numbers: graphs, compiled, channels last, autocast."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from benchmark_core.exits import UsageError
from pytorch_benchmarks.data.source import synthetic_batches
from pytorch_benchmarks.devices import Precision, World, choose_precision, map_tensors, set_backends
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Generator, Model
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import graphed, inference_step, training_step
from pytorch_benchmarks.results import count_work
from pytorch_benchmarks.workload import build_workload
from tests.conftest import ROOT
from tests.gpu.test_models import without_noise
from tests.gpu.work import small_model
from tests.pytorch_benchmarks.models.smaller import FAMILIES, SMALLER
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration  # for their time on a CPU

WARM_UP_OF_GRAPHS = 3  # steps before the first one that counts


def exact() -> None:
    """float32 is float32, and algorithms are the same every time."""
    set_backends(parse_benchmark_options(["--model=m", "--cudnn_benchmark=false"]), tf32=False)
    torch.backends.cudnn.deterministic = True


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by little, beside their size."""
    left, right = found.double().cpu(), expected.double().cpu()
    return float((left - right).norm()) <= tolerance * float(right.norm())


def batches_of(model: Model, device: torch.device, count: int) -> list[Any]:
    """Batches that differ."""
    return [next(synthetic_batches(model, 2, device=device, dtype=torch.float32, seed=seed)) for seed in range(count)]


@pytest.mark.parametrize("name", ["resnet18", "deep_mnist", "text_cnn", "dlrm_small"])
def test_graphs_infer_what_eager_steps_infer(cuda: torch.device, name: str) -> None:
    exact()
    model, _ = small_model(name, cuda)
    eager = inference_step(model)
    replayed = graphed(eager, cuda)
    for batch in batches_of(model, cuda, 4):
        assert close(replayed(batch), eager(batch), 1e-5)


@pytest.mark.parametrize("name", ["resnet18", "deep_mnist"])
def test_graphs_train_what_eager_steps_train(cuda: torch.device, name: str) -> None:
    """Recording takes three steps beforehand, on the first batch."""
    exact()
    model, _ = small_model(name, cuda)
    other = copy.deepcopy(model)
    batches = batches_of(model, cuda, 4)
    eager, replayed = training_step(model, model), graphed(training_step(other, other), cuda)
    for batch in itertools.chain([batches[0]] * WARM_UP_OF_GRAPHS, batches):
        loss = eager(batch)
    for batch in batches:
        graph_loss = replayed(batch)
    assert close(graph_loss, loss, 1e-3)
    for one, same in zip(other.parameters(), model.parameters(), strict=True):
        assert close(one.detach(), same.detach(), 1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_each_family_is_recorded(cuda: torch.device, name: str, figures: dict[str, Any]) -> None:
    """Inference gives the same outputs, and training changes the weights in the same way."""
    exact()
    torch.manual_seed(1)
    with cuda:
        model = without_noise(get_model(name, **SMALLER.get(name, {})))
    first, second = batches_of(model, cuda, 2)
    if not isinstance(model, Generator):  # inference of these is not recorded
        eager, replayed = inference_step(model), graphed(inference_step(model), cuda)
        for batch in (first, second):
            expected = [leaf.clone() for leaf in tree_leaves(eager(batch))]
            found = tree_leaves(replayed(batch))
            assert all(close(one, same, 1e-4) for one, same in zip(found, expected, strict=True))
    other = copy.deepcopy(model).to(cuda)  # recurrent layers put their weights in one piece again
    before = flat(model)
    trained, recorded = training_step(model, model), graphed(training_step(other, other), cuda)
    for batch in [first] * (WARM_UP_OF_GRAPHS + 1) + [second]:
        loss = trained(batch)
    graph_losses = [float(recorded(batch)) for batch in (first, second)]
    changes = flat(model) - before, flat(other) - before
    figures["error of the changes"] = float((changes[1] - changes[0]).norm() / changes[0].norm())
    assert graph_losses[-1] == pytest.approx(float(loss), rel=0.01)
    assert float(changes[0].norm()) > 0
    assert figures["error of the changes"] < 0.05


def flat(model: Model) -> Tensor:
    """All weights, in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).double()


def test_dropout_in_a_graph_is_drawn_anew_at_each_replay(cuda: torch.device) -> None:
    model, batches = small_model("text_cnn", cuda)
    model.train()

    @torch.no_grad()
    def step(batch: Any) -> Any:
        return model(batch[0])

    replayed = graphed(step, cuda)
    first, second = (replayed(next(batches)).clone() for _ in range(2))
    assert not torch.equal(first, second)


def test_a_compiled_model_is_recorded(cuda: torch.device) -> None:
    exact()
    model, batches = small_model("deep_mnist", cuda)
    other = copy.deepcopy(model)
    other.compile()
    batch = next(batches)
    eager, replayed = training_step(model, model), graphed(training_step(other, other), cuda)
    losses = [float(eager(batch)) for _ in range(WARM_UP_OF_GRAPHS + 3)]
    graph_losses = [float(replayed(batch)) for _ in range(3)]
    assert graph_losses == pytest.approx(losses[-3:], rel=0.01)


WAITING = """
from torch import nn
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.model import register_model

@register_model("waiting")
class Waiting(Model):
    title, input_shape, num_classes = "Waiting", (4,), 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) * x.sum().item()
"""


def test_a_model_that_waits_for_the_device_is_not_recorded(cuda: torch.device, tmp_path: Path) -> None:
    """In a process of its own: the failed recording would disturb the memory of later tests."""
    (tmp_path / "waiting.py").write_text(WAITING)
    program = ROOT / "python" / "pytorch_benchmarks" / "benchmarks.py"
    flags = ("--architecture=waiting.py", "--model=waiting", "--batch_size=2", "--num_batches=2", "--forward_only=true")
    done = subprocess.run(
        [sys.executable, str(program), *flags, "--cuda_graphs", "--device=gpu"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2, done.stderr
    assert "omit --cuda_graphs" in done.stderr


def test_a_graph_works_on_the_batch_that_it_is_given(cuda: torch.device) -> None:
    model, _ = small_model("deep_mnist", cuda)
    replayed = graphed(inference_step(model), cuda)
    first, second = (replayed(batch).clone() for batch in batches_of(model, cuda, 2))
    assert not torch.equal(first, second)


def test_a_graph_that_is_given_one_batch_for_ever_copies_it_once(cuda: torch.device) -> None:
    model, batches = small_model("deep_mnist", cuda)
    replayed = graphed(inference_step(model), cuda)
    first = replayed(next(batches)).clone()
    assert all(torch.equal(first, replayed(next(batches))) for _ in range(3))


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_graphs_are_not_recorded_within_graphs(mode: str) -> None:
    options = parse_benchmark_options(["--model=deep_mnist", "--cuda_graphs", f"--compile={mode}"])
    with pytest.raises(UsageError, match="captures CUDA graphs itself"):
        build_workload(options, torch.device("cuda", 0), World(), Precision(torch.float32, None, False, "cuda"))


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_models_infer_the_same(cuda: torch.device, mode: str) -> None:
    exact()
    model, _ = small_model("deep_mnist", cuda)
    batches = batches_of(model, cuda, 3)
    expected = [inference_step(model)(batch).clone() for batch in batches]
    model.compile(mode=None if mode == "default" else mode)
    step = inference_step(model)
    for batch, output in zip(batches, expected, strict=True):
        assert close(step(batch), output, 1e-4)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_models_train(cuda: torch.device, mode: str) -> None:
    exact()
    model, batches = small_model("deep_mnist", cuda)
    other = copy.deepcopy(model)
    model.compile(mode=None if mode == "default" else mode)
    step, eager = training_step(model, model), training_step(other, other)
    batch = next(batches)
    losses = [(float(step(batch)), float(eager(batch))) for _ in range(8)]
    assert losses[-1][0] < losses[0][0]
    assert losses[-1][0] == pytest.approx(losses[-1][1], rel=0.01)


def test_operations_of_a_compiled_model_are_counted(cuda: torch.device) -> None:
    model, batches = small_model("deep_mnist", cuda)
    step = inference_step(model)
    expected = count_work(step, next(batches), model).flops
    model.compile()
    step(next(batches))
    assert count_work(step, next(batches), model).flops == expected > 0


def test_the_order_in_memory_changes_nothing(device: torch.device) -> None:
    exact()
    model, _ = small_model("resnet18", device, batch=1)
    (batch,) = batches_of(model, device, 1)
    expected = inference_step(model)(batch).clone()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = batch[0].to(memory_format=torch.channels_last)
    assert close(inference_step(model)((inputs, None)), expected, 1e-4)


PRECISIONS = [("float32", False, 1e-4), ("bfloat16", True, 0.05), ("bfloat16", False, 0.1)]
ON_GPU = [("tf32", False, 0.01), ("float16", True, 0.01), ("float16", False, 0.02)]


def output_in(device: torch.device, dtype: str, amp: bool) -> Tensor:
    """What resnet18 gives of a batch in a precision."""
    options = parse_benchmark_options(["--model=resnet18", f"--dtype={dtype}", f"--amp={str(amp).lower()}"])
    precision = choose_precision(options, device)
    set_backends(options, tf32=precision.tf32)
    model, _ = small_model("resnet18", device)
    model.to(precision.weights)
    generator = torch.Generator().manual_seed(3)
    inputs = map_tensors(lambda x: x.to(device, precision.weights), model.inputs(2, generator))
    output: Tensor = inference_step(model, precision)((inputs, None))
    return output


@pytest.mark.parametrize(("dtype", "amp", "tolerance"), PRECISIONS)
def test_precisions(device: torch.device, dtype: str, amp: bool, tolerance: float) -> None:
    expected = output_in(torch.device("cpu"), "float32", False)
    assert close(output_in(device, dtype, amp), expected, tolerance)


@pytest.mark.parametrize(("dtype", "amp", "tolerance"), ON_GPU)
def test_precisions_of_gpus(cuda: torch.device, dtype: str, amp: bool, tolerance: float) -> None:
    if dtype == "tf32" and torch.cuda.get_device_capability(cuda) < (8, 0):
        pytest.skip("tf32 needs compute capability 8.0")
    expected = output_in(torch.device("cpu"), "float32", False)
    assert close(output_in(cuda, dtype, amp), expected, tolerance)


@pytest.mark.integration
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_training_under_autocast_learns(device: torch.device, dtype: torch.dtype) -> None:
    model, batches = small_model("deep_mnist", device)
    step: Callable[[Any], Tensor] = training_step(model, model, Precision(torch.float32, dtype, False, device.type))
    losses = [float(step(next(batches))) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_scaled_gradients_cannot_be_recorded(cuda: torch.device) -> None:
    options = parse_benchmark_options(["--model=deep_mnist", "--cuda_graphs", "--dtype=float16", "--amp"])
    with pytest.raises(UsageError, match="float16"):
        build_workload(options, cuda, World(), choose_precision(options, cuda))
