"""Errors of batches: whether the options of the model are the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark_core.exits import UsageError
from pytorch_benchmarks.models.model import BUILDERS, Model
from pytorch_benchmarks.options import CommonOptions
from pytorch_benchmarks.workload import tried


class Patches(Model):
    """A classifier of the patches of an image, which may be larger than the image."""

    input_shape = (1, 8, 8)

    def __init__(self, *, patch: int = 4, num_classes: int = 3, drop: float = 0.0, broken: bool = False) -> None:
        super().__init__()
        self.num_classes, self.drop, self.broken = num_classes, drop, broken
        self.patches = nn.Conv2d(1, num_classes, kernel_size=patch)

    def forward(self, x: Tensor) -> Tensor:
        if self.broken:
            raise NotImplementedError("not on this device")
        maps: Tensor = self.patches(x)
        if self.training:
            maps = nn.functional.dropout(maps, self.drop)
        return maps.mean(dim=(2, 3))


@pytest.fixture
def _patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILDERS, "patches", Patches)


def run(broken: bool = False, **model_opts: Any) -> None:
    """Run a batch of patches with these options."""
    with tried(CommonOptions(model="patches", model_opts=model_opts)):
        model = Patches(**model_opts)
        model.broken = broken
        generator = torch.Generator().manual_seed(1)
        inputs, targets = model.inputs(2, generator), model.targets(2, generator)
        model.loss(model(inputs), targets)


@pytest.mark.usefixtures("_patches")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("model_opts", "said"),
    [
        ({"patch": 9}, "Kernel size can't be greater than actual input size .without patch, it runs"),
        ({"patch": 9, "num_classes": 5}, "Kernel size can't be greater than actual input size .without patch, it runs"),
        ({"num_classes": 0}, "num_classes must be at least 1, not 0 .without these options, it runs"),
        ({"drop": 2}, "dropout probability has to be between 0 and 1, but got 2 .without drop, it runs"),
    ],
)
def test_options_that_fail_in_the_first_batch_are_named(model_opts: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"--model_opts do not fit patches: .*{said}"):
        run(**model_opts)


@pytest.mark.usefixtures("_patches")
def test_an_error_that_the_options_do_not_cause_stays_as_it_is() -> None:
    run(patch=8)
    with pytest.raises(NotImplementedError):
        run(broken=True, patch=8)
    with pytest.raises(NotImplementedError):
        run(broken=True)


@pytest.mark.parametrize("model", ["deep_mnist", "nope"])
def test_an_error_of_a_model_that_runs_in_no_case_stays_as_it_is(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**options: Any) -> Model:
        made = Patches(**options)
        made.broken = True
        return made

    monkeypatch.setitem(BUILDERS, "deep_mnist", broken)
    with pytest.raises(ValueError, match="a bug"), tried(CommonOptions(model=model, model_opts={"patch": 9})):
        raise ValueError("a bug")


class AcceleratorError(RuntimeError):
    """As torch has one."""


@pytest.mark.usefixtures("_patches")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistBackendError("NCCL error in: NCCLUtils.cpp:94, remote process exited"),
        AcceleratorError("CUDA error: device-side assert triggered"),
    ],
    ids=["a lost connection", "an error of the device"],
)
def test_an_error_of_another_cause_is_not_due_to_the_options(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(type(error)), tried(CommonOptions(model="patches", model_opts={"patch": 9})):
        raise error
