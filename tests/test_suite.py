"""Models that are written as packages of a suite: both forms of its interface, and proofs that a model behaves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pytorch_benchmarks.checks.torchbench import CHECKS, CheckError, Subject, settings
from pytorch_benchmarks.checks.torchbench import main as check
from pytorch_benchmarks.errors import SkippedError, UsageError
from pytorch_benchmarks.torchbench.loader import instances, load_class, make, module_of, phase_of
from tests.conftest import ROOT, RunDlbs

# As such models are written: relative imports of the suite's base class and of files beside it, data found by __file__.
PRESENT = """
from pathlib import Path
import torch
from torch import nn
from ...util.model import BenchmarkModel
from torchbenchmark.tasks import NLP
from .parts import Network

class Model(BenchmarkModel):
    task = NLP.LANGUAGE_MODELING
    DEFAULT_TRAIN_BSIZE = 4
    DEFAULT_EVAL_BSIZE = 8

    def __init__(self, test, device, batch_size=None, extra_args=[]):
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args)
        torch.manual_seed(7)
        self.model = Network(int(Path(__file__).with_name("size.txt").read_text())).to(device)
        self.example_inputs = (torch.randn(self.batch_size, 5, device=device),)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        EXTRA

    def get_module(self):
        return self.model, self.example_inputs

    def train(self):
        self.optimizer.zero_grad()
        loss = self.model(*self.example_inputs).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def eval(self):
        with torch.no_grad():
            return self.model(*self.example_inputs)
    MORE
"""
PARTS = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, size), nn.Dropout(0.5), nn.Linear(size, 1))

    def forward(self, x):
        FORWARD
        return self.layers(x)
"""
FIRST = """
import torch
from ...util.model import BenchmarkModel

class Model(BenchmarkModel):
    def __init__(self, device=None, jit=False):
        super().__init__()
        if jit:
            raise NotImplementedError("no jit here")
        self.device = device
        torch.manual_seed(1)
        self.module = torch.nn.Linear(3, 2).to(device)
        self.inputs = (torch.ones(6, 3, device=device),)
        self.turns = 0

    def get_module(self):
        return self.module, self.inputs

    def train(self, niter=1):
        raise NotImplementedError("only inference")

    def eval(self, niter=1):
        for _ in range(niter):
            self.turns += 1
            self.module(*self.inputs)

if __name__ == '__main__':
    Model("cpu").eval()
"""


def write_model(
    directory: Path, source: str = PRESENT, *, extra: str = "pass", more: str = "", forward: str = "pass"
) -> Path:
    directory.mkdir(parents=True)
    (directory / "__init__.py").write_text(source.replace("EXTRA", extra).replace("MORE", more))
    (directory / "parts.py").write_text(PARTS.replace("FORWARD", forward))
    (directory / "size.txt").write_text("6")
    return directory


def test_the_present_form(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "present"))
    made = make(found, "train", "cpu", None, ["--word"])
    assert (made.test, made.device, made.batch_size, made.extra_args) == ("train", "cpu", 4, ["--word"])
    assert float(phase_of(made, "train")()) > 0
    assert phase_of(make(found, "eval", "cpu", 3), "eval")().shape == (3, 1)
    assert instances(make(found, "eval", "cpu", None)) == 8


def test_the_first_form(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "first", FIRST))
    made = make(found, "eval", "cpu", None)
    phase_of(made, "eval")()
    assert made.turns == 1
    assert instances(made) == 6
    with pytest.raises(NotImplementedError, match="only inference"):
        phase_of(made, "train")()
    with pytest.raises(SkippedError, match="with jit is not supported: no jit here"):
        make(found, "eval", "cpu", None, jit=True)


def test_the_default_modes_switch_the_network(tmp_path: Path) -> None:
    made = make(load_class(write_model(tmp_path / "modes")), "eval", "cpu", None)
    for name, training in (("set_eval", False), ("set_train", True)):
        getattr(made, name)()
        network, _ = module_of(made)  # type: ignore[misc]
        assert network.training is training


def test_two_models_in_one_process_have_their_own_modules(tmp_path: Path) -> None:
    one, other = (
        load_class(write_model(tmp_path / name / "same_name", forward=f"x = x * {factor}"))
        for name, factor in (("a", 1), ("b", 0))
    )
    assert float(make(one, "eval", "cpu", 1).eval().sum()) != float(make(other, "eval", "cpu", 1).eval().sum())


def test_a_batch_size_that_cannot_be_changed_is_not_supported(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "fixed", more="\n    ALLOW_CUSTOMIZE_BSIZE = False"))
    assert make(found, "eval", "cpu", 8).batch_size == 8
    with pytest.raises(SkippedError, match="cannot be other than 8"):
        make(found, "eval", "cpu", 9)


@pytest.mark.parametrize(
    ("source", "said"),
    [("import no_such_package", "cannot be imported: ModuleNotFoundError"), ("x = 1", "defines no class Model")],
)
def test_what_cannot_be_imported(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_class(write_model(tmp_path / f"broken{len(source)}", source))


def findings(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    code = check([str(directory)])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"check"')]
    return code, {one["check"]: (one["status"], one["message"]) for one in said}


def test_a_model_that_behaves_passes_all_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = findings(write_model(tmp_path / "behaves"), capsys)
    assert code == 0, found
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(CHECKS, "ok")


@pytest.mark.parametrize(
    ("name", "extra", "more", "forward", "said"),
    [
        ("working directory", "open('left', 'w').close()", "", "pass", "it left left"),
        ("two in one process", "torch.count = getattr(torch, 'count', 0) + 1; self.model.layers[0].weight.data *= torch.count", "", "pass", "beside another one"),
        ("memory", "torch.kept = getattr(torch, 'kept', []) + [self.model]", "", "pass", "its network lives on"),
        ("seeds", "self.model.layers[0].weight.data += torch.rand(1, generator=torch.Generator().manual_seed(torch.seed()))", "", "pass", "two runs differ"),
        ("device", "self.model.register_buffer('lost', torch.ones(1, device='meta'))", "", "pass", "lost is on meta"),
        ("mode", "pass", "\n    def set_eval(self): pass", "pass", "after set_eval()"),
        ("script", "pass", "", "\n        if torch.jit.is_scripting():\n            x = x + 1", "outputs differ"),
        ("network", "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)", "", "pass", "it needs the network"),
        ("settings", "torch.backends.cudnn.benchmark = True", "", "pass", "it changed cudnn.benchmark"),
        ("train", "pass", "\n    def train(self): raise RuntimeError('broken')", "pass", "RuntimeError: broken"),
        ("eval", "pass", "\n    def eval(self): raise RuntimeError('broken')", "pass", "RuntimeError: broken"),
    ],
)  # fmt: skip
def test_each_check_finds_what_it_is_for(
    tmp_path: Path, name: str, extra: str, more: str, forward: str, said: str
) -> None:
    directory = write_model(tmp_path / f"bad_{name.replace(' ', '_')}", extra=extra, more=more, forward=forward)
    before = settings()
    torch.backends.cudnn.benchmark = False
    try:
        with pytest.raises((CheckError, RuntimeError), match=re.escape(said.removeprefix("RuntimeError: "))):
            CHECKS[name](Subject(load_class(directory), "cpu", settings()))
    finally:
        torch.backends.cudnn.benchmark = before["cudnn.benchmark"]
        for name_outside in ("kept", "count"):
            torch.__dict__.pop(name_outside, None)


def test_what_is_not_supported_is_skipped_and_nothing_at_all_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = findings(write_model(tmp_path / "half", FIRST), capsys)
    assert code == 0, found
    assert found["train"] == ("skipped", "only inference")
    assert found["script"][0] == "skipped"
    nothing = FIRST.replace("super().__init__()", "raise NotImplementedError('not on this device')")
    code, found = findings(write_model(tmp_path / "nothing", nothing), capsys)
    assert code == 1
    assert found["phases"][0] == "failed"


@pytest.mark.integration
def test_a_model_is_an_experiment(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_model(tmp_path / "packs" / "present")
    write_model(tmp_path / "packs" / "first", FIRST)
    flags = (
        "-Pexp.framework=pack",
        "-Pexp.docker=false",
        "-Vexp.phase=[training,inference]",
        "-Pexp.num_batches=3",
        "-Pexp.gpus=",
    )
    done = dlbs("run", *flags, "-Vexp.pack=[present,first]")
    assert done.returncode == 0, done.stderr
    records = {(r["exp.model"], r["exp.phase"]): r for r in json.loads(dlbs("parse", "logs").stdout)["data"]}
    assert records["present", "training"]["exp.replica_batch"] == 4
    assert records["present", "inference"]["exp.replica_batch"] == 8
    assert records["present", "training"]["results.loss"] > 0
    assert records["present", "inference"]["results.model_parameters"] == 5 * 6 + 6 + 6 + 1
    assert records["first", "inference"]["exp.status"] == "ok"
    skipped = records["first", "training"]
    assert (skipped["exp.status"], skipped["exp.status_msg"]) == ("skipped", "train is not supported: only inference")
    done = dlbs("run", *flags, "-Pexp.pack=present", "-Vexp.replica_batch=[2,3]", "-Pexp.log_dir=sweep")
    assert done.returncode == 0, done.stderr
    assert "batch 3" in dlbs("report", "sweep").stdout


@pytest.mark.integration
def test_check_runs_the_proofs(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_model(tmp_path / "packs" / "present")
    done = dlbs("pack", "check", "present")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("  ok  ") == 1 + len(CHECKS)
    write_model(tmp_path / "packs" / "bad", extra="open('left', 'w').close()")
    done = dlbs("pack", "check", "bad")
    assert done.returncode == 1
    assert "FAIL working directory: it left left" in done.stdout


@pytest.mark.integration
@pytest.mark.parametrize(
    "flag", ["--compile", "--cuda_graphs", "--data_loader_only", "--channels_last", "--dtype=float16"]
)
def test_options_that_do_not_go_with_packs(tmp_path: Path, flag: str) -> None:
    program = ROOT / "python" / "pytorch_benchmarks" / "benchmarks.py"
    pack = write_model(tmp_path / "present")
    done = subprocess.run(
        [sys.executable, str(program), "--pack", str(pack), "--device", "cpu", flag],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "does not go with --pack" in done.stderr or "needs a CUDA device" in done.stderr
