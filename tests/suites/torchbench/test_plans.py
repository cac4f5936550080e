"""What models in the form of TorchBench become in plans, and what they need."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlbs.packs.configure import configure
from dlbs.packs.definition import find_pack
from dlbs.packs.kinds import needs_environment
from dlbs.plan.build import build
from tests.conftest import RunDlbs
from tests.packs.test_needs import check_and_run
from tests.packs.test_packs import experiments
from tests.plan.test_frameworks import OF_MODELS

MODEL = """
import torch
from torchbenchmark.util.model import BenchmarkModel

class Model(BenchmarkModel):
    DEFAULT_TRAIN_BSIZE = DEFAULT_EVAL_BSIZE = 2
    def __init__(self, test, device, batch_size=None, extra_args=[]):
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args)
        self.model = torch.nn.Linear(3, 1).to(device)
        self.inputs = torch.ones(self.batch_size, 3, device=device)
    def get_module(self): return self.model, (self.inputs,)
    def train(self): self.model(self.inputs).sum().backward()
    def eval(self): return (self.model(self.inputs),)
"""


@pytest.mark.parametrize(("more", "needed"), [("", False), ("requirements.txt", True), ("install.py", True)])
def test_a_model_needs_an_environment_if_something_names_requirements(tmp_path: Path, more: str, needed: bool) -> None:
    directory = write_source(tmp_path / "plain", MODEL)
    if more:
        (directory / more).write_text("six")
    assert needs_environment(find_pack(str(directory))) is needed


@pytest.mark.integration
def test_one_file_is_a_model_that_is_checked_and_runs(dlbs: RunDlbs, tmp_path: Path) -> None:
    check_and_run(dlbs, tmp_path, "__init__.py", MODEL, "inference")


def test_a_model_has_what_models_have(dlbs: RunDlbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dlbs("pack", "new", "mine", "--template", "model", check=True)
    monkeypatch.chdir(tmp_path)
    (experiment,) = build(configure(parameters={"exp.framework": "pack", "exp.pack": "mine"}))
    derived = {"exp.replica_batch", "exp.effective_batch"}
    assert OF_MODELS & experiment.keys() - derived == OF_MODELS - derived
    assert "pytorch.data_dir" in experiment


SIZES = "class Model:\n    DEFAULT_TRAIN_BSIZE = 32\n    DEFAULT_EVAL_BSIZE: int = 128\n"


def write_source(directory: Path, source: str = SIZES) -> Path:
    directory.mkdir(parents=True)
    (directory / "__init__.py").write_text(source)
    return directory


def test_a_dockerfile_beside_a_model_leaves_it_a_model(tmp_path: Path) -> None:
    directory = write_source(tmp_path / "dlrm")
    (directory / "Dockerfile").write_text("FROM scratch\n")
    assert find_pack(str(directory)).kind == "model"
    (directory / "__init__.py").unlink()
    assert find_pack(str(directory)).kind == "container"


@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        (SIZES, {"training": (32, False), "inference": (128, False)}),
        ("class Model:\n    DEFAULT_EVAL_BSIZE = 7\n", {"training": (7, True), "inference": (7, False)}),
        ("class Model:\n    DEFAULT_TRAIN_BSIZE = size()\n", {"training": (16, True), "inference": (16, True)}),
    ],
)
def test_the_plan_has_the_batch_sizes_of_a_models_source(
    dlbs: RunDlbs, tmp_path: Path, source: str, sizes: dict[str, tuple[int, bool]]
) -> None:
    write_source(tmp_path / "packs" / "net", source)
    flags = ("-Pexp.framework=pack", "-Pexp.pack=net", "-Pexp.docker=false", "-Vexp.phase=[training,inference]")
    made = experiments(dlbs, *flags)
    assert {one["exp.phase"]: (one["exp.replica_batch"], one["pack.own_batch"]) for one in made} == sizes
    assert [f"_b{one['exp.replica_batch']}_" in one["exp.log_file"] for one in made] == [True, True]
    chosen = experiments(dlbs, *flags, "-Pexp.replica_batch=5")
    assert {(one["exp.replica_batch"], one["pack.own_batch"]) for one in chosen} == {(5, False)}


def test_the_batch_size_for_inference_on_a_cpu_is_that_of_the_metadata(dlbs: RunDlbs, tmp_path: Path) -> None:
    directory = write_source(tmp_path / "packs" / "net")
    (directory / "metadata.yaml").write_text("devices: {cpu: {eval_batch_size: 4}}\n")
    flags = ("-Pexp.framework=pack", "-Pexp.pack=net", "-Pexp.docker=false")
    assert experiments(dlbs, *flags, "-Pexp.phase=inference")[0]["exp.replica_batch"] == 4
    assert experiments(dlbs, *flags)[0]["exp.replica_batch"] == 32
