"""What this machine has, found out without starting anything heavy."""

from __future__ import annotations

import glob
import os
import shutil
import socket

__all__ = ["docker_available", "gpu_count"]


def gpu_count() -> int:
    """NVIDIA and AMD GPUs that this machine shows, counted by their device files (no driver is loaded)."""
    nvidia = glob.glob("/dev/nvidia[0-9]*")
    if nvidia:
        return len(nvidia)
    # An AMD compute node has a non-zero SIMD count; CPUs are nodes too.
    count = 0
    for path in glob.glob("/sys/class/kfd/kfd/topology/nodes/*/properties"):
        try:
            with open(path) as properties:
                count += any(line.startswith("simd_count") and line.split()[1] != "0" for line in properties)
        except OSError:
            continue
    return count


def docker_available() -> bool:
    """Whether there is a docker client and a daemon that answers on its socket."""
    if shutil.which("docker") is None:
        return False
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True
