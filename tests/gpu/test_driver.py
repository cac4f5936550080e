"""NVML and nvidia-smi, through recorded answers of several machines: what is asked of them and what is made of it. No GPU is needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmark_core.gpus import Energy, Gpu, facts_of, find_gpu, open_nvml
from dlbs.machine.fitness import system_facts
from dlbs.machine.monitor import Monitor
from pytorch_benchmarks.results import peak_tflops
from tests.gpu.driver import MACHINES, RecordedNvml, recording, write_nvidia_smi

WITH_GPU = [machine for machine in MACHINES if recording(machine)["title"]]


def gpu_on(machine: str) -> Gpu | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", RecordedNvml(machine))  # type: ignore[arg-type]
        nvml = open_nvml()
    return None if nvml is None else find_gpu(nvml, recording(machine)["uuid"])


@pytest.mark.parametrize("machine", MACHINES)
def test_the_gpu_is_found_by_the_uuid_that_cuda_gives(machine: str) -> None:
    assert (gpu_on(machine) is not None) == (machine in WITH_GPU)


def test_a_gpu_of_another_machine_is_not_found() -> None:
    assert find_gpu(RecordedNvml("h100"), recording("h200")["uuid"]) is None


@pytest.mark.parametrize("prefix", ["", "GPU-"])
def test_a_uuid_may_have_its_prefix(prefix: str) -> None:
    assert find_gpu(RecordedNvml("h100"), prefix + recording("h100")["uuid"]) is not None


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("h100", {"driver": "580.159.04", "gpu_clock_mhz": 345, "gpu_power_limit": 700.0, "gpu_throttle_reasons": 1}),
        ("a100", {"gpu_temperature": 54, "gpu_throttle_reasons": 4}),  # an old driver, which has the older function only
        ("h100_mig", {"gpu_clock_max_mhz": 1980, "gpu_temperature": 31}),  # those of the whole GPU
        ("virtual_gpu", {"gpu_clock_mhz": 1710, "gpu_temperature": None, "gpu_power_limit": None, "gpu_throttle_reasons": None}),
    ],
)  # fmt: skip
def test_facts(machine: str, expected: dict[str, object]) -> None:
    gpu = gpu_on(machine)
    assert gpu is not None
    found = facts_of(gpu)
    assert {name: found[name] for name in expected} == expected


def test_a_version_of_pynvml_without_a_function_has_no_answer() -> None:
    nvml = RecordedNvml("h100")
    del nvml.recording["nvml"]["nvmlDeviceGetCurrentClocksEventReasons"]
    del nvml.recording["nvml"]["nvmlDeviceGetCurrentClocksThrottleReasons"]
    assert facts_of(Gpu(nvml, "whole"))["gpu_throttle_reasons"] is None


@pytest.mark.parametrize(
    ("machine", "joules"),
    [
        ("h100", 70.5),
        ("a100", 40.0),
        ("h200", None),  # the counter did not move in so short a time
        ("h100_mig", None),  # the counter is that of the whole GPU
        ("virtual_gpu", None),  # it has none
        ("no_driver", None),
    ],
)
def test_energy_is_what_the_counter_moved_by(machine: str, joules: float | None) -> None:
    energy = Energy(gpu_on(machine))
    energy.start()
    energy.stop()
    found = energy.metrics(instances=10)
    assert found.get("results.energy") == joules
    assert found.get("results.energy_per_instance") == (None if joules is None else joules / 10)
    assert ("results.power" in found) == (joules is not None)


@pytest.mark.parametrize(
    ("machine", "peak"), [("h100", 989.4), ("h200", 989.4), ("a100", 312.0), ("h100_mig", None), ("virtual_gpu", 70.0)]
)
def test_the_peak_is_that_of_the_title(machine: str, peak: float | None) -> None:
    assert peak_tflops(recording(machine)["title"], "bfloat16") == peak


@pytest.mark.integration
@pytest.mark.parametrize(
    ("machine", "devices"),
    [
        ("h200", ["NVIDIA H200, 580.159.03, 143771 MiB"]),
        ("a100", ["NVIDIA A100-SXM4-80GB, 525.147.05, 81920 MiB"] * 2),
        ("virtual_gpu", ["NVIDIA A10G, 535.183.01, [N/A]"]),
        ("no_driver", []),
        ("no_gpu", []),
    ],
)
def test_nvidia_smi_names_the_gpus(
    machine: str, devices: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nvidia_smi(machine, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert system_facts()["gpu.devices"] == devices


def test_without_nvidia_smi_there_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_facts()["gpu.devices"] == []


def watched(machine: str, monkeypatch: pytest.MonkeyPatch, gpus: list[int]) -> dict[str, object]:
    """What the monitor says after three samples of this process and the GPUs of a recorded machine."""
    import os
    import time

    monkeypatch.setitem(sys.modules, "pynvml", RecordedNvml(machine))  # type: ignore[arg-type]
    monitor = Monitor(0.01, gpus=gpus)
    monitor.watch(os.getpid())
    for _ in range(3):
        time.sleep(0.011)
        monitor.sample_if_due()
    return monitor.results()


def test_the_monitor_watches_the_gpus_of_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched("h100", monkeypatch, [0])
    samples = len(found["results.use.time"])  # type: ignore[arg-type]
    assert found["results.use.gpu_power"] == [[69.797] * samples]
    assert found["results.use.gpu_util"] == [[97.0] * samples]
    assert found["results.use.gpu_mem_peak"] == [1520809984.0]
    (joules,) = found["results.use.gpu_energy"]  # type: ignore[misc]
    assert joules > 0


def test_what_a_gpu_does_not_report_is_not_reported_as_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched("h100_mig", monkeypatch, [0])
    assert found["results.use.gpu_energy"] == [None]
    assert found["results.use.gpu_mem_peak"] == [None]
    assert set(found["results.use.gpu_temp"][0]) == {31.0}  # type: ignore[index]


def test_the_monitor_finds_parts_of_gpus_by_their_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = RecordedNvml("h100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-{nvml.recording['uuid']}")
    assert "results.use.gpu_power" in watched("h100", monkeypatch, [0])


@pytest.mark.parametrize(("machine", "gpus"), [("h100", [7]), ("no_driver", [0]), ("no_gpu", [0]), ("h100", [])])
def test_the_monitor_goes_on_without_gpus_that_are_not_there(
    machine: str, gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(machine, monkeypatch, gpus)
    assert found["results.use.time"]
    assert not any(name.startswith("results.use.gpu") for name in found)
