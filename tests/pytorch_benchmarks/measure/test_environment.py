"""Facts that numbers depend on besides the options."""

from __future__ import annotations

import json

import pytest
import torch

from benchmark_core.facts import host_facts, malloc_setting
from pytorch_benchmarks.devices import device_facts

CPU = torch.device("cpu")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "123")
    facts = {**host_facts(), **device_facts(CPU)}
    assert facts["torch"] == torch.__version__
    assert facts["settings"]["MALLOC_TRIM_THRESHOLD_"] == "123"
    assert json.dumps(facts)
    assert facts["memory"] > 1 << 28


def test_whether_the_allocator_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    assert malloc_setting() == "system"
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1073741824")
    assert malloc_setting() == "system"
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "8589934592")
    assert malloc_setting() == "keep"
