"""What this machine has."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark_core.gpus import cuda_name, docker_name, gpu_count, visible_gpus
from dlbs.core.errors import LaunchError
from dlbs.machine.fitness import system_facts
from dlbs.machine.resources import docker_available, query_nvidia


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker command on the path."""
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("client")
def test_docker_is_available_if_a_daemon_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as directory:  # short: a socket's path has at most 107 characters
        path = f"{directory}/s"
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        assert not docker_available()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.bind(path)
            daemon.listen()
            assert docker_available()
        assert Path(path).exists()
        assert not docker_available()  # the socket of a daemon that is gone


def test_no_client_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not docker_available()


def test_gpus_are_counted() -> None:
    assert gpu_count() >= 0


GPU, PART = "GPU-5d2c2a8a-1fbe-4bfa-9d0c-9a3e7d6a1b20", "MIG-0c6fb5a1-7c0b-5d0e-b8a5-2f3f5a0d8e11"


@pytest.mark.parametrize(
    ("given", "numbers", "names"),
    [
        ("2,5", (2, 5), ["2", "5"]),
        ("", (), []),
        ("-1", (), []),
        ("NoDevFiles", (), []),
        ("3,-1,0", (3,), ["3"]),  # CUDA heeds nothing behind what is no GPU
        ("1,1", (1,), ["1"]),
        (GPU, (0,), [GPU]),
        (f"{PART}, {GPU}", (0, 1), [PART, GPU]),
    ],
)
def test_programs_may_use_the_gpus_that_are_visible(
    given: str, numbers: tuple[int, ...], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == numbers
    assert list(map(cuda_name, numbers)) == names


def test_all_gpus_are_visible_unless_they_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == tuple(range(gpu_count()))
    assert cuda_name(3) == "3"


@pytest.mark.parametrize(
    ("visible", "job", "names"),
    [
        ("2,3", "", ["2", "3"]),
        ("2,3", "2,3", ["2", "3"]),
        ("0,1", "2,3", ["2", "3"]),  # the job sees no others, and Slurm numbers them from 0
        ("0,1", "0,1", ["0", "1"]),
        ("3", "2,3", ["3"]),  # a part of the job's
        (GPU, "2", [GPU]),
    ],
)
def test_docker_sees_all_gpus(visible: str, job: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("SLURM_JOB_GPUS", job)
    assert list(map(docker_name, visible_gpus())) == names


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program nvidia-smi on the path that runs lines of shell code."""

    def write(code: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    return write


LOST = "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("printed", "rows"),
    [
        ("NVIDIA H100, 580.1\nNVIDIA H100, [N/A]", [["NVIDIA H100", "580.1"], ["NVIDIA H100", "[N/A]"]]),
        (f"{LOST}\nNVIDIA H100, 580.1", [["NVIDIA H100", "580.1"]]),
        ("No devices were found", []),
        ("", []),
    ],
)
def test_messages_of_nvidia_smi_are_no_gpus(nvidia_smi: Callable[[str], None], printed: str, rows: list[str]) -> None:
    nvidia_smi(f"echo '{printed}'")
    assert query_nvidia(("name", "driver_version")) == rows


@pytest.mark.integration
def test_fields_that_nvidia_smi_does_not_know_are_empty(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi(
        """case $1 in
*new*) echo 'Field "new.name" is not a valid field to query.'; exit 2;;
*) echo "0, 0x4"; echo "1, 0x1";;
esac"""
    )
    assert query_nvidia(("index", "new.name", "old.name")) == [["0", "", "0x4"], ["1", "", "0x1"]]


@pytest.mark.integration
def test_without_a_driver_nvidia_smi_fails(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi("echo NVIDIA-SMI has failed because it could not communicate with the driver.; echo; exit 9")
    with pytest.raises(LaunchError, match=r"^nvidia-smi: NVIDIA-SMI has failed because it .* the driver\.$"):
        query_nvidia(("name",))
    assert system_facts()["gpu.devices"] == []


@pytest.mark.integration
def test_a_driver_that_does_not_respond(nvidia_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi("exec sleep 60")
    monkeypatch.setattr("dlbs.machine.resources._NVIDIA_SMI_SECONDS", 0.1)
    with pytest.raises(LaunchError, match="did not respond"):
        query_nvidia(("name",))
