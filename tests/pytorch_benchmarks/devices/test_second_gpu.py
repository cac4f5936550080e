"""The second GPU: what a program asks PyTorch about its device concerns that device, not the first or the current one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytorch_benchmarks.checks import torchbench
from pytorch_benchmarks.checks.finding import CheckError
from pytorch_benchmarks.devices import make_current
from pytorch_benchmarks.errors import SkippedError
from pytorch_benchmarks.options.benchmark import parse_benchmark_options
from pytorch_benchmarks.precision import choose_precision
from pytorch_benchmarks.serving import fresh_process, processes

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


class _StopError(Exception):
    pass


@pytest.mark.parametrize("kind", ["a worker", "a process of a search"])
def test_processes_of_serving_work_on_the_chosen_gpu(
    monkeypatch: pytest.MonkeyPatch, made_current: list[int], tmp_path: Path, kind: str
) -> None:
    def stop(*_: Any) -> None:
        raise _StopError

    monkeypatch.setattr("pytorch_benchmarks.devices.select_device", lambda _: SECOND)
    monkeypatch.setattr("pytorch_benchmarks.precision.choose_precision", stop)
    monkeypatch.setattr("os._exit", lambda _: None)
    options = parse_benchmark_options(["--model=m", "--serving=true"])
    if kind == "a worker":
        processes._serve(SimpleNamespace(send=lambda _: None), options)  # type: ignore[arg-type]
    else:
        with pytest.raises(_StopError):
            fresh_process._answer(SimpleNamespace(), options, tmp_path)  # type: ignore[arg-type]
    assert made_current == [1]


def test_memory_is_that_of_the_checked_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    allocated = iter([100, 150, 150])

    def memory_allocated(device: torch.device) -> int:
        assert device == SECOND
        return next(allocated)

    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(memory_allocated=memory_allocated))
    subject: Any = SimpleNamespace(device="cuda:1", supported=list)
    with pytest.raises(CheckError, match="50 bytes are still allocated"):
        torchbench.memory_is_returned(subject)
