"""How replicas communicate, and which process of its node one is."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from benchmark_core.exits import UsageError
from benchmark_core.program import REASONS, leave_reason
from pytorch_benchmarks import torchrun
from pytorch_benchmarks.devices import local_rank
from pytorch_benchmarks.distributed import communication
from pytorch_benchmarks.options import parse_benchmark_options

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("device", "backend", "taken"),
    [
        (CPU, "auto", "gloo"),
        (CUDA, "auto", "nccl"),
        (torch.device("xpu", 0), "auto", "xccl"),
        (torch.device("mps"), "auto", "gloo"),
        (CPU, "gloo", "gloo"),
        (CUDA, "gloo", "gloo"),
    ],
)
def test_a_device_has_a_usual_backend_and_may_have_another(device: torch.device, backend: str, taken: str) -> None:
    assert communication(device, backend) == taken


@pytest.mark.parametrize(("device", "backend"), [(CPU, "nccl"), (CPU, "xccl"), (CUDA, "xccl")])
def test_a_backend_of_other_devices_is_a_clear_error(device: torch.device, backend: str) -> None:
    with pytest.raises(UsageError, match=f"--dist_backend {backend} does not support"):
        communication(device, backend)


@pytest.mark.skipif(torch.distributed.is_backend_available("mpi"), reason="this PyTorch has MPI")
def test_a_backend_that_pytorch_lacks_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match=r"--dist_backend mpi: PyTorch .* is built without it"):
        communication(CPU, "mpi")


def test_the_local_rank_is_that_of_the_launcher_however_it_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without, one = parse_benchmark_options(["--model=m"]), parse_benchmark_options(["--model=m", "--local-rank=1"])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert (local_rank(without), local_rank(one)) == (0, 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (local_rank(without), local_rank(one)) == (1, 1)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UsageError, match="--local_rank 1, but LOCAL_RANK is 0"):
        local_rank(one)


def ended(monkeypatch: pytest.MonkeyPatch, found: dict[int, int], left: dict[int, tuple[str, int, bool]]) -> int:
    """The exit code of replicas of which torchrun `found` exit codes, and which `left` reasons, in this order."""

    def run(_: Any) -> None:
        for rank, (reason, code, is_lost) in left.items():
            monkeypatch.setenv("LOCAL_RANK", str(rank))
            assert leave_reason(reason, code, is_lost=is_lost)
        failures = {rank: ProcessFailure(rank, 1, code, "") for rank, code in found.items()}
        raise ChildFailedError("replicas", failures)

    monkeypatch.setenv(REASONS, os.devnull)  # so that it is as it was afterwards
    monkeypatch.setattr("torch.distributed.run.run", run)
    return torchrun.main(["--standalone", "program.py"])


def test_a_reason_counts_even_if_torchrun_does_not_report_its_replica(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with PyTorch 2.8: replica 1 still ends, slowly, and is ended; replica 0 lost the connection to it."""
    left = {1: ("it is broken", 3, False), 0: ("the connection was lost", 1, True)}
    assert ended(monkeypatch, {0: 1}, left) == 3
    assert capsys.readouterr().err == "error: it is broken\n"


def test_an_abort_is_the_error_if_it_is_all_that_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = {0: ("the connection was lost", 1, True)}
    assert ended(monkeypatch, {0: 1, 1: -signal.SIGABRT, 2: -signal.SIGTERM}, left) == 134
    error = capsys.readouterr().err
    assert error.startswith("error: replica 1 was ended by SIGABRT: its own messages, in the output, say why")


def test_an_abort_comes_after_a_failure_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, {0: -signal.SIGABRT, 1: 3}, {1: ("out of memory", 3, False)}) == 3
    assert capsys.readouterr().err == "error: out of memory\n"
