"""The list that a TorchBench model has to pass."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from dlbs.suites.torchbench.measured.checks import CHECKS, LoadedModel, settings
from dlbs.suites.torchbench.measured.checks import main as check
from dlbs.suites.torchbench.measured.workload import load_class
from pytorch_benchmarks.checks import CheckError
from tests.conftest import RunDlbs
from tests.suites.torchbench.made_models import FIRST, write_model


def findings(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    code = check([str(directory)])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"check"')]
    return code, {one["check"]: (one["status"], one["message"]) for one in said}


@pytest.mark.integration
def test_a_model_that_behaves_passes_all_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = findings(write_model(tmp_path / "behaves"), capsys)
    assert code == 0, found
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(CHECKS, "ok")


@pytest.mark.parametrize(
    ("name", "extra", "more", "forward", "said"),
    [
        ("working directory", "open('left', 'w').close()", "", "pass", "it left left"),
        ("two in one process", "torch.count = getattr(torch, 'count', 0) + 1; self.model.layers[0].weight.data *= torch.count", "", "pass", "when another instance exists"),
        ("memory", "torch.kept = getattr(torch, 'kept', []) + [self.model]", "", "pass", "its network is not freed"),
        ("seeds", "self.model.layers[0].weight.data += torch.rand(1, generator=torch.Generator().manual_seed(torch.seed()))", "", "pass", "two runs differ"),
        ("device", "self.model.register_buffer('lost', torch.ones(1, device='meta'))", "", "pass", "lost is on meta"),
        ("mode", "pass", "\n    def set_eval(self): pass", "pass", "after set_eval()"),
        ("script", "pass", "", "\n        if torch.jit.is_scripting():\n            x = x + 1", "outputs differ"),
        ("network", "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)", "", "pass", "it needs the network"),
        ("network", "open('/no/such/file')", "", "pass", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'"),
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
            CHECKS[name](LoadedModel(load_class(directory), "cpu", settings()))
    finally:
        torch.backends.cudnn.benchmark = before["cudnn.benchmark"]
        for name_outside in ("kept", "count"):
            torch.__dict__.pop(name_outside, None)


@pytest.mark.integration
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
def test_check_runs_the_checks(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_model(tmp_path / "packs" / "bad", extra="open('left', 'w').close()")
    done = dlbs("pack", "check", "bad")
    assert done.returncode == 1
    assert "FAIL working directory: it left left" in done.stdout
    assert done.stdout.count("  ok  ") == 1 + len(CHECKS) - 1  # its definition, and all checks but one
