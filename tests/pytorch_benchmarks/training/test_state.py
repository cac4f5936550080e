"""The state of a training, and what a checkpoint brings back."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.training.options import TrainingOptions, parse_training_options
from pytorch_benchmarks.training.state import TrainingState, average_of, read_checkpoint, update_average
from pytorch_benchmarks.training.trainer import build_optimizer


def fresh(options: TrainingOptions, channels_last: bool) -> TrainingState:
    network = small()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = cast(Model, network)
    return TrainingState(model, None, build_optimizer(model, options), None)


def small() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))


def take_step(state: TrainingState, seed: int) -> None:
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


def test_the_average_is_that_of_pytorch() -> None:
    options = parse_training_options(["--model=m", "--ema_decay=0.9", "--data_dir=d"])
    network = cast(Model, small())
    ours, theirs = average_of(network, options), average_of(network, options)
    assert ours is not None
    assert theirs is not None
    for number in range(4):
        network(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(number)))  # running statistics
        for parameter in network.parameters():
            parameter.data.add_(0.1 * (number + 1))
        update_average(ours, network)
        theirs.update_parameters(network)
        for one, same in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(one, same)
    assert int(ours.n_averaged) == 4
