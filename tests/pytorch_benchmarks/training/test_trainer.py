"""Optimisers (groups of parameters, steps, clipping) and learning rates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytorch_benchmarks.devices import Precision
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.phases import training_step
from pytorch_benchmarks.training.options import TrainingOptions
from pytorch_benchmarks.training.trainer import build_optimizer, learning_rate, parameter_groups


def test_every_parameter_is_in_one_group_with_its_decay() -> None:
    model = get_model("resnet18", num_classes=4)
    options = TrainingOptions("m", weight_decay=0.1, norm_weight_decay=0.0, bias_weight_decay=0.01)
    groups = {group["weight_decay"]: group["params"] for group in parameter_groups(model, options)}
    assert sorted(groups) == [0.0, 0.01, 0.1]
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    assert all(parameter.dim() == 1 for parameter in groups[0.0])
    assert [tuple(parameter.shape) for parameter in groups[0.01]] == [(4,)]


def test_a_shared_parameter_is_decayed_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert [len(group["params"]) for group in parameter_groups(model, TrainingOptions("m"))] == [1]


class Linear(Model):
    """One layer."""

    input_shape = (20,)
    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "rmsprop"])
def test_every_optimizer_lowers_the_loss_of_the_shared_step(kind: str) -> None:
    torch.manual_seed(0)
    model = Linear()
    options = TrainingOptions("m", optimizer=kind, lr=0.02)
    step = training_step(model, model, optimizer=build_optimizer(model, options), clip_grad_norm=1.0)
    batch = (model.inputs(8, torch.Generator().manual_seed(0)), torch.arange(8))
    losses = [float(step(batch)) for _ in range(8)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_optimizer_changes_all_weights_in_every_type(kind: str, dtype: torch.dtype) -> None:
    """PyTorch's fused gradient descent on CPUs leaves most weights of two bytes as they are."""
    model = nn.Linear(64, 8).to(dtype)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(model, TrainingOptions("m", optimizer=kind, lr=0.02))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert bool((model.weight < before).all())


def test_gradients_are_clipped() -> None:
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = training_step(model, model, optimizer=optimizer, clip_grad_norm=1e-3)
    step((model.inputs(8, torch.Generator().manual_seed(0)), torch.arange(8)))
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    assert float(gradients.norm()) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_first_batch_whose_scaled_gradients_overflow_leaves_no_trace(nesterov: bool) -> None:
    """PyTorch's fused kernel writes nothing then, so the momentum must have a value before."""
    one, two = Linear(), Linear()
    two.load_state_dict(one.state_dict())
    options = TrainingOptions("m", nesterov=nesterov)
    precision = Precision(torch.float32, torch.float16, False, "cpu")
    good = (torch.randn(4, 20), torch.arange(4))
    bad = (torch.full_like(good[0], torch.inf), good[1])
    steps = []
    for model in (one, two):
        optimizer = build_optimizer(model, options)
        steps.append(training_step(model, model, precision, optimizer=optimizer, scaler=torch.amp.GradScaler("cpu", 8)))
        momentum = [state["momentum_buffer"] for state in optimizer.state.values()]
        assert len(momentum) == 2
        assert not any(tensor.any() for tensor in momentum)
    steps[0](bad)
    for step in steps * 2:
        step(good)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), two.parameters(), strict=True))


def test_a_first_step_from_zero_momentum_is_that_of_pytorch() -> None:
    one, two = Linear(), Linear()
    two.load_state_dict(one.state_dict())
    ours, theirs = (torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, fused=True) for model in (one, two))
    batch = (one.inputs(4, torch.Generator().manual_seed(0)), torch.arange(4))
    plain = training_step(two, two, optimizer=theirs)
    scaled = training_step(one, one, optimizer=ours, scaler=torch.amp.GradScaler("cpu", 8))
    assert not theirs.state
    for _ in range(3):
        plain(batch)
        scaled(batch)
        assert all(torch.equal(*pair) for pair in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "progress", "rate"),
    [
        ({}, 0.0, 0.1),
        ({}, 29.99, 0.1),
        ({}, 30.0, 0.01),
        ({}, 89.0, 0.001),
        ({"lr_warmup_epochs": 5.0}, 0.0, 0.001),
        ({"lr_warmup_epochs": 5.0}, 2.5, 0.0505),
        ({"lr_warmup_epochs": 5.0}, 34.99, 0.1),
        ({"lr_warmup_epochs": 5.0}, 35.0, 0.01),
        ({"lr_scheduler": "cosine", "epochs": 10}, 5.0, 0.05),
        ({"lr_scheduler": "cosine", "epochs": 10, "lr_min": 0.02}, 10.0, 0.02),
        ({"lr_scheduler": "cosine", "epochs": 12, "lr_warmup_epochs": 2.0}, 7.0, 0.05),
        ({"lr_scheduler": "exponential", "lr_gamma": 0.5}, 2.9, 0.025),
        ({"lr_scheduler": "constant"}, 80.0, 0.1),
        ({"lr_step_size": 0.0}, 80.0, 0.1),
    ],
)
def test_the_learning_rate_is_a_function_of_progress(options: dict[str, Any], progress: float, rate: float) -> None:
    assert learning_rate(TrainingOptions("m", **options), progress) == pytest.approx(rate)
