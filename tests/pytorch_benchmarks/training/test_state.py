"""The state of a training, and what a checkpoint brings back."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.training import TrainingOptions, parse_training_options
from pytorch_benchmarks.training.optimizers import build_optimizer
from pytorch_benchmarks.training.state import State, read_checkpoint


def fresh(options: TrainingOptions, channels_last: bool) -> State:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = cast(Model, network)
    return State(model, None, build_optimizer(model, options), None)


def take_step(state: State, seed: int) -> None:
    """With gradients that depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in state.model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    state.optimizer.step()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("layouts", [(False, True), (True, False)], ids=["to channels last", "from channels last"])
def test_a_training_goes_on_in_another_order_of_memory(
    tmp_path: Path, optimizer: str, layouts: tuple[bool, bool]
) -> None:
    """Fused optimizers take the elements of weights, gradients and momentum in the order of memory, whatever their shape says."""
    options = parse_training_options(["--model=resnet18", "--lr=0.01", f"--optimizer={optimizer}", "--data_dir=d"])
    before, after = (fresh(options, channels_last) for channels_last in layouts)
    take_step(before, 1)
    before.save(tmp_path / "last.pt", options, 1)
    after.restore(read_checkpoint(tmp_path / "last.pt"), tmp_path / "last.pt")
    for state in (before, after):
        take_step(state, 2)
    for one, same in zip(after.model.parameters(), before.model.parameters(), strict=True):
        torch.testing.assert_close(one, same, rtol=1e-5, atol=1e-6)
