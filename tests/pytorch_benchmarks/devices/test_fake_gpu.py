"""Everything that runs on a GPU, on the second of two that compute nothing: no tensor is left on the host or on the first one.

What this cannot show: results, kernels that a GPU lacks, memory, and the order of work in streams. `tests/gpu` shows them where there is a GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.pytorch_benchmarks.devices.cases import GROUPS
from tests.pytorch_benchmarks.devices.fake_gpu import build_library, compiler
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

# A model with positions, where models are most often wrong.
POSITIONS = """
import torch
from torch import nn
from pytorch_benchmarks.models.model import register_model
from pytorch_benchmarks.models.model import Model

class Positions(Model):
    title, input_shape = "Positions", (4,)

    def __init__(self, positions):
        super().__init__()
        self.layer, self.positions = nn.Linear(4, 1000), positions

    def forward(self, x):
        return self.layer(x + self.positions(x))

@register_model()
def on_the_host():
    return Positions(lambda x: torch.arange(4.0))

@register_model()
def on_the_first_gpu():
    return Positions(lambda x: torch.arange(4.0, device="cuda:0"))

@register_model()
def copied_in_each_batch():
    return Positions(lambda x: torch.arange(4.0).to(x.device))

@register_model()
def read_in_each_batch():
    return Positions(lambda x: torch.arange(4.0, device=x.device) + x.sum().item())

@register_model()
def right():
    return Positions(lambda x: torch.arange(4.0, device=x.device))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or torch.version.cuda or torch.version.hip:
        pytest.skip("only for CPU builds of PyTorch on Linux: others have their own part for CUDA")
    if shutil.which(compiler()) is None:
        pytest.skip(f"there is no C++ compiler: {compiler()} is not installed")
    return build_library(tmp_path_factory.mktemp("fake_gpu"))


def errors(library: Path, group: str, *arguments: str) -> dict[str, str]:
    """The error of each case of a group."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])
    module = "tests.pytorch_benchmarks.devices.cases"
    done = subprocess.run(
        [sys.executable, "-m", module, str(library), group, *arguments],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {found["case"]: found["error"] for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("group", GROUPS)
def test_everything_is_on_the_chosen_device(library: Path, group: str) -> None:
    found = errors(library, group)
    assert len(found) > 3
    for case, error in found.items():
        assert not error, f"{case}: {error}"


def test_a_tensor_that_is_elsewhere_is_found(library: Path, tmp_path: Path) -> None:
    architecture = tmp_path / "positions.py"
    architecture.write_text(POSITIONS)
    found = errors(library, "", str(architecture))
    assert "found at least two devices, cuda:1 and cpu" in found["on_the_host"]
    assert "found at least two devices, cuda:1 and cuda:0" in found["on_the_first_gpu"]
    assert "the host waits for the device" in found["copied_in_each_batch"]
    assert "the host waits for the device" in found["read_in_each_batch"]
    assert found["right"] == ""
