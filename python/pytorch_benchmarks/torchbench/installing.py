"""Functions that install.py of TorchBench models calls: they install packages and check for data; nothing else is downloaded."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = [
    "INPUT_TARBALLS",
    "cache_model",
    "checkout_s3_data",
    "get_pip_cmd",
    "install_pytorch_geometric",
    "patch_transformers",
    "pip_install_requirements",
    "s3_utils",
]

INPUT_TARBALLS = "INPUT_TARBALLS"  # the suite's name of a kind of data


def pip_install_requirements(
    requirements_txt: str = "requirements.txt", continue_on_fail: bool = False, no_build_isolation: bool = False, extra_args: Sequence[str] = (),
) -> tuple[bool, Any]:  # fmt: skip
    """Install the packages listed in a file.

    Returns:
        Whether that succeeded, and the reason if not.

    Raises:
        RuntimeError: It failed, and failures are not ignored.
    """
    flags = ["--no-build-isolation"] if no_build_isolation else []
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        *flags,
        "-r",
        requirements_txt,
    ]
    code = subprocess.run([*command, *extra_args], check=False).returncode
    if code and not continue_on_fail:
        raise RuntimeError(f"pip install -r {requirements_txt} failed with exit code {code}")
    return code == 0, f"exit code {code}" if code else None


def get_pip_cmd() -> list[str]:
    """The command of pip."""
    return [sys.executable, "-m", "pip"]


def checkout_s3_data(data_type: str, name: str, decompress: bool = True) -> None:
    """Check that data exist; unpack their archive if needed.

    Raises:
        RuntimeError: The data are missing: they come from the suite's server, and users have to download them.
    """
    if data_type != INPUT_TARBALLS:  # a file of a model, with its directory
        archive = unpacked = Path.cwd().parent / name
    else:
        data = Path(import_module("torchbenchmark").DATA_PATH)
        archive, unpacked = data.parent / name, data / name.partition(".tar")[0]
    if unpacked.exists():
        return
    if not archive.is_file():
        raise RuntimeError(f"the data {name} are missing: download them from the suite's server to {archive}")
    if decompress:
        data.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as stream:
            stream.extractall(data, filter="data")


def patch_transformers(*_: Any, **__: Any) -> None:
    """Do nothing: the suite patches transformers for tools that trace networks."""


def cache_model(name: str, **_: Any) -> None:
    """Do nothing: weights are random."""
    print(f"{name}: its weights are not downloaded; times do not depend on them")


def install_pytorch_geometric() -> None:
    """Install PyTorch Geometric from the package index."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "torch_geometric"]
    subprocess.run(command, check=True)


class s3_utils:  # noqa: N801
    """The part of the module `s3_utils` that scripts use (`from utils import s3_utils`)."""

    checkout_s3_data = staticmethod(checkout_s3_data)
    INPUT_TARBALLS = INPUT_TARBALLS
