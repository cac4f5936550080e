"""What this machine has."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from dlbs.machine.devices import cuda_name, docker_available, docker_name, gpu_count, visible_gpus


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
