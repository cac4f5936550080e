"""The energy counter against samples of power."""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any

import pytest
import torch

from benchmark_core.gpus import Energy, Gpu
from pytorch_benchmarks.devices import gpu_of
from tests.gpu.work import matrix_chain

pytestmark = pytest.mark.alone

SECONDS = 3.0


@pytest.fixture
def gpu(cuda: torch.device) -> Gpu:
    """The GPU in NVML, if it counts energy."""
    found = gpu_of(cuda)
    if found is None:
        pytest.skip("needs NVML: the package nvidia-ml-py, and its library of the driver")
    if found.shared:
        pytest.skip("a part of a GPU (MIG) has no energy counter of its own")
    if found.ask("nvmlDeviceGetTotalEnergyConsumption") is None or found.ask("nvmlDeviceGetPowerUsage") is None:
        pytest.skip("this GPU reports no energy or no power")
    return found


def work_for(seconds: float, device: torch.device) -> int:
    """Keep the device busy; return the number of batches."""
    step = matrix_chain(device, products=5)
    batches, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        step(None)
        torch.cuda.synchronize(device)
        batches += 1
    return batches


def test_energy_is_power_over_time(cuda: torch.device, gpu: Gpu, figures: dict[str, Any]) -> None:
    watts: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.02):
            watts.append(gpu.ask("nvmlDeviceGetPowerUsage") / 1000)

    work_for(1.0, cuda)  # power is averaged over up to a second
    sampler = threading.Thread(target=sample)
    energy = Energy(gpu)
    sampler.start()
    begin = time.perf_counter()
    energy.start()
    batches = work_for(SECONDS, cuda)
    energy.stop()
    seconds = time.perf_counter() - begin
    over.set()
    sampler.join()
    found = energy.metrics(batches)
    figures.update({"counter W": found["results.power"], "samples W": statistics.fmean(watts), "s": seconds})
    assert found["results.power"] == pytest.approx(statistics.fmean(watts), rel=0.15)
    # NVML takes up to a tenth of a second for each answer, longer while somebody else asks.
    assert found["results.power"] * SECONDS * 0.98 <= found["results.energy"] <= found["results.power"] * seconds * 1.02
    assert found["results.energy_per_instance"] == pytest.approx(found["results.energy"] / batches)


def test_work_needs_more_energy_than_rest(cuda: torch.device, gpu: Gpu, figures: dict[str, Any]) -> None:
    powers = []
    for work in (False, True):
        energy = Energy(gpu)
        energy.start()
        if work:
            work_for(2.0, cuda)
        else:
            time.sleep(2.0)
        energy.stop()
        powers.append(energy.metrics(1)["results.power"])
    figures.update({"idle W": powers[0], "busy W": powers[1]})
    assert powers[1] > 1.2 * powers[0]


def test_nothing_is_said_without_a_counter() -> None:
    energy = Energy(gpu_of(torch.device("cpu")))
    energy.start()
    energy.stop()
    assert energy.metrics(1) == {}
