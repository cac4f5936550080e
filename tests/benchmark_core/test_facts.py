"""Facts about the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark_core import facts, gpus

INFORMATION = "Model: \t\t {model}\nIRQ:   \t\t 42\nGPU UUID: \t {uuid}\nVideo BIOS: \t 96.00.74.00.01\nDevice Minor: \t {minor}\n"
GPUS = {
    "0000:17:00.0": ("NVIDIA H100 PCIe", "GPU-11112222-aaaa-bbbb-cccc-000000000000"),
    "0000:65:00.0": ("NVIDIA L4", "GPU-11113333-aaaa-bbbb-cccc-000000000000"),
    "0000:ca:00.0": ("NVIDIA L4", "GPU-44444444-aaaa-bbbb-cccc-000000000000"),
}


def made(directory: Path, gpus: dict[str, tuple[str, str]]) -> Path:
    for minor, (bus, (model, uuid)) in enumerate(gpus.items()):
        (directory / bus).mkdir()
        text = INFORMATION.format(model=model, uuid=uuid, minor=minor)
        (directory / bus / "information").write_text(text)
    return directory


@pytest.mark.parametrize(
    ("visible", "job", "title"),
    [
        ("", "", "NVIDIA H100 PCIe"),
        ("1", "", "NVIDIA L4"),
        ("7", "", "NVIDIA GPU"),
        ("GPU-11113333-aaaa-bbbb-cccc-000000000000,0", "", "NVIDIA L4"),
        ("GPU-4444", "", "NVIDIA L4"),
        ("GPU-1111", "", "NVIDIA GPU"),  # of two GPUs
        ("GPU-5555", "", "NVIDIA GPU"),
        ("MIG-0c6fb5a1-7c0b-5d0e-b8a5-2f3f5a0d8e11", "", "NVIDIA GPU MIG"),  # of any of them
        ("MIG-GPU-11112222-aaaa-bbbb-cccc-000000000000/3/0", "", "NVIDIA H100 PCIe MIG"),
        ("0", "2", "NVIDIA L4"),
        ("0,1", "0,2", "NVIDIA H100 PCIe"),
        ("2", "1,2", "NVIDIA L4"),
    ],
)
def test_the_title_is_that_of_the_first_visible_gpu(
    visible: str, job: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_NVIDIA", made(tmp_path, GPUS))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("SLURM_JOB_GPUS", job)
    assert gpus.nvidia_title() == title


def test_a_part_of_one_of_equal_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_NVIDIA", made(tmp_path, dict(list(GPUS.items())[1:])))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0c6fb5a1-7c0b-5d0e-b8a5-2f3f5a0d8e11")
    assert gpus.nvidia_title() == "NVIDIA L4 MIG"


def test_no_gpu_has_a_title_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_NVIDIA", tmp_path)
    assert gpus.nvidia_title() == "NVIDIA GPU"


@pytest.mark.parametrize(
    ("visible", "version", "driver"),
    [("0", "580.159.04\n", "580.159.04"), ("", "580.159.04\n", None), ("-1", "580.159.04\n", None), ("0", None, None)],
)
def test_the_driver_is_known_without_a_package(
    visible: str, version: str | None, driver: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "version"
    if version is not None:
        file.write_text(version)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(facts, "_NVIDIA_DRIVER", str(file))
    assert facts.host_facts().get("driver") == driver


def test_settings_that_change_what_is_measured_are_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NCCL_DEBUG", "PYTORCH_ALLOC_CONF", "NVIDIA_TF32_OVERRIDE", "MY_OWN"):
        monkeypatch.setenv(name, "1")
    settings = facts.host_facts()["settings"]
    assert {"NCCL_DEBUG", "PYTORCH_ALLOC_CONF", "NVIDIA_TF32_OVERRIDE"} <= settings.keys()
    assert "MY_OWN" not in settings
