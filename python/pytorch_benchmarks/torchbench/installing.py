"""What the install.py of TorchBench models calls: packages are installed, data are looked for, and nothing else is downloaded."""

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

INPUT_TARBALLS = "INPUT_TARBALLS"  # a kind of data, as the suite calls it


def pip_install_requirements(
    requirements_txt: str = "requirements.txt", continue_on_fail: bool = False, no_build_isolation: bool = False, extra_args: Sequence[str] = (),
) -> tuple[bool, Any]:  # fmt: skip
    """Install what a file names.

    Returns:
        Whether that worked, and why not.

    Raises:
        RuntimeError: It did not, and that was not to be passed over.
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
    """The words that start pip."""
    return [sys.executable, "-m", "pip"]


def checkout_s3_data(data_type: str, name: str, decompress: bool = True) -> None:
    """See that data are there; an archive of them is unpacked.

    Raises:
        RuntimeError: They are not: they come from the suite's server, and have to be fetched by whoever wants them.
    """
    if data_type != INPUT_TARBALLS:  # a file of a model, named with its directory
        archive = unpacked = Path.cwd().parent / name
    else:
        data = Path(import_module("torchbenchmark").DATA_PATH)
        archive, unpacked = data.parent / name, data / name.partition(".tar")[0]
    if unpacked.exists():
        return
    if not archive.is_file():
        raise RuntimeError(f"the data {name} are not here: download them from the suite's server to {archive}")
    if decompress:
        data.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as stream:
            stream.extractall(data, filter="data")


def patch_transformers(*_: Any, **__: Any) -> None:
    """Nothing: the suite changes transformers for tools that trace networks."""


def cache_model(name: str, **_: Any) -> None:
    """Nothing: weights are random here."""
    print(f"{name}: its weights are not downloaded; times do not depend on them")


def install_pytorch_geometric() -> None:
    """Install PyTorch Geometric from the package index."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "torch_geometric"]
    subprocess.run(command, check=True)


class s3_utils:  # noqa: N801
    """`from utils import s3_utils`, the module, as far as scripts use it."""

    checkout_s3_data = staticmethod(checkout_s3_data)
    INPUT_TARBALLS = INPUT_TARBALLS
