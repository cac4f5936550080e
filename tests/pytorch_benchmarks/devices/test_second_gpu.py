"""The second GPU: what a program asks PyTorch about its device concerns that device, not the first or the current one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmark_core.exits import SkippedError
from dlbs.suites.torchbench.measured import checks
from pytorch_benchmarks.checks import CheckError
from pytorch_benchmarks.devices import choose_precision, make_current
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.serving import local

SECOND = torch.device("cuda", 1)


@pytest.fixture
def made_current(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The devices that became the current one."""
    indices: list[int] = []
    monkeypatch.setattr(torch.accelerator, "set_device_index", indices.append)
    return indices


def test_only_a_gpu_becomes_the_current_device(made_current: list[int]) -> None:
    make_current(torch.device("cpu"))
    make_current(SECOND)
    assert made_current == [1]


@pytest.mark.parametrize(("capabilities", "able"), [([(7, 0), (9, 0)], True), ([(9, 0), (7, 0)], False)])
@pytest.mark.parametrize("dtype", ["bfloat16", "tf32"])
def test_types_are_those_of_the_chosen_gpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], able: bool, dtype: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device.index])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: capabilities[0] >= (8, 0))
    options = parse_benchmark_options(["--model=m", f"--dtype={dtype}"])
    if able:
        assert choose_precision(options, SECOND).arithmetic == dtype
    else:
        with pytest.raises(SkippedError, match="not supported by this cuda device"):
            choose_precision(options, SECOND)


def test_a_worker_process_of_serving_works_on_the_chosen_gpu(
    monkeypatch: pytest.MonkeyPatch, made_current: list[int]
) -> None:
    def stop(*_: Any) -> None:
        raise ArithmeticError

    monkeypatch.setattr("pytorch_benchmarks.devices.select_device", lambda _: SECOND)
    monkeypatch.setattr("pytorch_benchmarks.devices.choose_precision", stop)
    monkeypatch.setattr("os._exit", lambda _: None)
    options = parse_benchmark_options(["--model=m", "--serving=true"])
    local._serve(SimpleNamespace(send=lambda _: None), options)  # type: ignore[arg-type]
    assert made_current == [1]


def test_memory_is_that_of_the_checked_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    allocated = iter([100, 150, 150])

    def memory_allocated(device: torch.device) -> int:
        assert device == SECOND
        return next(allocated)

    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(memory_allocated=memory_allocated))
    subject: Any = SimpleNamespace(device="cuda:1", supported=list)
    with pytest.raises(CheckError, match="50 bytes are still allocated"):
        checks.memory_is_returned(subject)
