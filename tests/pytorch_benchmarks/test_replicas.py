"""How replicas communicate, and which process of its node one is."""

from __future__ import annotations

import pytest
import torch

from pytorch_benchmarks.devices import local_rank
from pytorch_benchmarks.distributed import communication
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.options.benchmark import parse_benchmark_options

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
