"""Facts that numbers depend on besides the options."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from benchmark_core.facts import malloc_setting
from benchmark_core.measure import environment_with
from benchmark_core.provenance import git_revision
from pytorch_benchmarks.devices import device_facts

CPU = torch.device("cpu")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "123")
    facts = environment_with(device_facts(CPU))
    assert facts["torch"] == torch.__version__
    assert facts["settings"]["MALLOC_TRIM_THRESHOLD_"] == "123"
    assert json.dumps(facts)
    assert facts["memory"] > 1 << 28


@pytest.mark.integration
def test_the_revision_is_read_without_git(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    assert git_revision(tmp_path / "file") is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_revision(tmp_path / "deep" / "file") == head
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    assert git_revision(tmp_path / "file") == head
    subprocess.run([*git, "worktree", "add", "-q", "--detach", str(tmp_path / "tree")], check=True)
    assert git_revision(tmp_path / "tree" / "file") == head


def test_whether_the_allocator_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    assert malloc_setting() == "system"
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1073741824")
    assert malloc_setting() == "system"
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "8589934592")
    assert malloc_setting() == "keep"
