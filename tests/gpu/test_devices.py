"""The device that is chosen, what is known about it, and what its settings do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark_core.exits import UsageError
from pytorch_benchmarks.devices import (
    choose_precision,
    device_facts,
    device_title,
    event_maker,
    gpu_of,
    select_device,
    set_backends,
    synchronizer,
)
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.results import peak_tflops
from tests.conftest import ROOT
from tests.gpu.work import matrix_chain
from tests.waiting import PATIENCE

PROGRAM = ROOT / "python" / "pytorch_benchmarks" / "benchmarks.py"


@pytest.mark.integration
def test_a_wrong_index_is_said_and_nothing_runs_on_the_cpu_instead(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--model=deep_mnist", "--device=gpu"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "99"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "finds only the cpu on this machine" in done.stderr
    assert "results.time" not in done.stdout


def test_a_gpu_is_chosen_wherever_there_is_one(cuda: torch.device) -> None:
    for device in ("auto", "gpu", "cuda"):
        assert select_device(parse_benchmark_options(["--model=m", f"--device={device}"])) == cuda
    assert select_device(parse_benchmark_options(["--model=m", "--device=cpu"])).type == "cpu"


@pytest.mark.parametrize("flag", ["--num_gpus", "--num_replicas"])
def test_more_than_there_are_cannot_be_had(cuda: torch.device, flag: str) -> None:
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match=rf"{flag} {count + 1}, but PyTorch sees {count}"):
        select_device(parse_benchmark_options(["--model=m", f"{flag}={count + 1}", "--device=gpu"]))


def test_the_driver_knows_the_same_gpu(cuda: torch.device, figures: dict[str, Any]) -> None:
    """Found by UUID, in NVML, which counts GPUs in another way than CUDA does."""
    gpu = gpu_of(cuda)
    if gpu is None:
        pytest.skip("needs NVML: the package nvidia-ml-py, and its library of the driver")
    title, name = device_title(cuda), gpu.nvml.nvmlDeviceGetName(gpu.handle)
    figures.update(title=title, nvml=name, shared=gpu.shared)
    assert title.startswith(name)  # a part of a GPU has `MIG 1g.10gb` behind the name of the whole
    assert gpu.shared == (" MIG " in title)
    if not gpu.shared:
        total = gpu.nvml.nvmlDeviceGetMemoryInfo(gpu.handle).total
        assert total == pytest.approx(torch.cuda.get_device_properties(cuda).total_memory, rel=0.05)


def test_the_environment_names_driver_and_gpu(cuda: torch.device) -> None:
    found = device_facts(cuda)
    assert found["gpu"] == device_title(cuda)
    assert found["cuda"] == torch.version.cuda
    assert found["gpu_memory"] > 1 << 30
    assert found.get("driver", "0")[0].isdigit()


def test_the_peak_of_this_gpu_is_known(cuda: torch.device, figures: dict[str, Any]) -> None:
    title = device_title(cuda)
    if " MIG " in title:
        pytest.skip("a part of a GPU has no peak in the table")
    figures["bfloat16 TFLOP/s"] = peak_tflops(title, "bfloat16")
    assert figures["bfloat16 TFLOP/s"]


@pytest.mark.alone
def test_waiting_for_the_device_means_that_its_work_is_done(cuda: torch.device) -> None:
    make = event_maker(cuda)
    assert make is not None
    event: Any = make()
    matrix_chain(cuda, products=20)(None)
    event.record()
    assert not event.query()  # the host is far ahead
    synchronizer(cuda)()
    assert event.query()


def test_events_are_made_by_the_driver_before_they_are_needed(cuda: torch.device) -> None:
    make = event_maker(cuda)
    assert make is not None
    event: Any = make()
    assert event.cuda_event  # 0 until the driver has made it


def test_a_cpu_has_no_events_and_needs_no_waiting() -> None:
    assert event_maker(torch.device("cpu")) is None
    synchronizer(torch.device("cpu"))()


def product_error(device: torch.device, dtype: str) -> float:
    """By how much a product of float32 matrices differs from that in float64, relatively, in this precision."""
    options = parse_benchmark_options(["--model=m", f"--dtype={dtype}"])
    set_backends(options, tf32=choose_precision(options, device).tf32)
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(512, 512, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    error = (left.to(device) @ right.to(device)).double().cpu() - exact
    return float(error.norm() / exact.norm())


def test_float32_products_are_float32(device: torch.device) -> None:
    assert product_error(device, "float32") < 1e-6


def test_tf32_rounds_the_factors_and_nothing_else(cuda: torch.device, figures: dict[str, Any]) -> None:
    if torch.cuda.get_device_capability(cuda) < (8, 0):
        pytest.skip("tf32 needs compute capability 8.0")
    figures["relative error"] = error = product_error(cuda, "tf32")
    assert 1e-5 < error < 2e-3  # 10 bits of mantissa
    assert product_error(cuda, "float32") < 1e-6  # and it is off again


@pytest.mark.parametrize("tf32", [False, True])
def test_convolutions_follow_the_same_switch(cuda: torch.device, tf32: bool) -> None:
    if torch.cuda.get_device_capability(cuda) < (8, 0):
        pytest.skip("tf32 needs compute capability 8.0")
    set_backends(parse_benchmark_options(["--model=m", "--cudnn_benchmark=false"]), tf32=tf32)
    generator = torch.Generator().manual_seed(1)
    images, kernel = torch.randn(4, 64, 32, 32, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)
    exact = torch.nn.functional.conv2d(images.double(), kernel.double())
    found = torch.nn.functional.conv2d(images.to(cuda), kernel.to(cuda)).double().cpu()
    error = float((found - exact).norm() / exact.norm())
    assert (error > 1e-5) == tf32


def test_a_second_gpu_is_used_by_its_number(cuda: torch.device, tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    uuids = [str(torch.cuda.get_device_properties(number).uuid) for number in range(2)]
    program = "import torch; print(torch.cuda.get_device_properties(0).uuid)"
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": str(number)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for number in range(2)
    ]
    assert found == uuids
