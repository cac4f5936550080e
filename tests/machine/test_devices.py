"""What this machine has."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from dlbs.machine.devices import docker_available, gpu_count


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
