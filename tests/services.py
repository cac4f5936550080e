"""What tests need besides Python packages, and whether it is there: `@pytest.mark.needs("docker")`."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable

__all__ = ["ACCELERATORS", "BASE_IMAGE", "CHROMIUM", "COMMAND", "POSTGRESQL", "SERVICES", "skip_reason"]

COMMAND = ".ci/services"  # installs and starts all that are no accelerators
BASE_IMAGE = "dlbs-test/base:bookworm"
POSTGRESQL = os.environ.get("DLBS_TEST_POSTGRES", "postgresql+psycopg:///postgres")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _fails(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


def _docker() -> str:
    if shutil.which("docker") is None:
        return "docker is not installed"
    return "no docker daemon answers" if _fails("docker", "version") else ""


def _base_image() -> str:
    return _docker() or (f"there is no image {BASE_IMAGE}" if _fails("docker", "image", "inspect", BASE_IMAGE) else "")


def _slurm() -> str:
    programs = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "starting Slurm takes root" if os.geteuid() else ""


def _postgresql() -> str:
    try:
        import sqlalchemy

        sqlalchemy.create_engine(POSTGRESQL).connect().close()
    except ImportError as error:
        return str(error)
    except sqlalchemy.exc.OperationalError as error:
        return str(error.orig).splitlines()[0]
    return ""


def _chromium() -> str:
    return "" if CHROMIUM else "Chromium is not installed"


def _sshd() -> str:
    missing = [program for program in ("sshd", "ssh", "ssh-keygen", "ip") if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "network namespaces take root" if os.geteuid() else ""


def _bindfs() -> str:
    if shutil.which("bindfs") is None:
        return "bindfs is not installed"
    return "" if os.path.exists("/dev/fuse") else "there is no /dev/fuse"


def _gpu(count: int = 1, kind: str = "") -> str:
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or kind not in {"", found.type}:
        return "this machine has none"
    return "" if torch.accelerator.device_count() >= count else f"this machine has fewer than {count}"


SERVICES: dict[str, Callable[[], str]] = {
    "docker": _docker,
    "base image": _base_image,
    "Slurm": _slurm,
    "PostgreSQL": _postgresql,
    "Chromium": _chromium,
    "sshd": _sshd,
    "bindfs": _bindfs,
    "GPU": _gpu,
    "CUDA GPU": functools.partial(_gpu, kind="cuda"),
    "two GPUs": functools.partial(_gpu, count=2),
}
ACCELERATORS = frozenset({"GPU", "CUDA GPU", "two GPUs"})  # no command brings them


@functools.cache
def skip_reason(service: str) -> str:
    """`needs docker: no docker daemon answers`, or nothing if the service is there."""
    missing = SERVICES[service]()
    return f"needs {service}: {missing}" if missing else ""
