"""The modules that a model imports as `torchbenchmark`, and those that its install.py imports. Needs only the standard library."""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_core.provided import provide

ROOT = "torchbenchmark"  # package that models import from, absolutely or relatively
_OURS = __name__.rpartition(".")[0]
_UTIL = f"{ROOT}.util"
_FRAMEWORKS = ("gnn", "huggingface", "timm", "vision")
MODULES = {  # module that models import → module here
    **dict.fromkeys((ROOT, f"{ROOT}.models", f"{ROOT}.canary_models", _UTIL, f"{_UTIL}.framework"), ""),
    f"{ROOT}.tasks": f"{_OURS}.model",
    **{f"{_UTIL}.{name}": f"{_OURS}.model" for name in ("model", "extra_args", "env_check", "distribution")},
    **{f"{_UTIL}.framework.{name}": "" for name in _FRAMEWORKS},
    **{f"{_UTIL}.framework.{name}.model_factory": f"{_OURS}.networks" for name in _FRAMEWORKS},
}
_INSTALLING = (  # imports of models' install.py
    "utils",
    "utils.python_utils",
    "utils.s3_utils",
    f"{_UTIL}.framework.gnn",
    f"{_UTIL}.framework.huggingface.patch_hf",
)


def provide_torchbench(directory: Path) -> None:
    """Make `torchbenchmark` importable, unless it is installed.

    Args:
        directory: Directory of the model. Inside a checkout of the suite, the data are those of the checkout;
            elsewhere they are in `torchbench` in the data directory of packs.
    """
    if ROOT not in sys.modules and importlib.util.find_spec(ROOT) is None:
        provide(MODULES)
    package: Any = importlib.import_module(ROOT)
    if package.__spec__.origin is None:  # ours, which has no file
        package.REPO_PATH, package.DATA_PATH = map(str, _paths(directory))


def run_install(directory: Path) -> int:
    """Run the install.py of a model in its directory, with the modules that such scripts import; return an exit code."""
    directory = directory.resolve()
    os.chdir(directory)
    provide_torchbench(directory)
    sys.modules.update(dict.fromkeys(_INSTALLING, sys.modules[__name__]))  # whatever else is called utils
    sys.argv = ["install.py"]
    try:
        runpy.run_path("install.py", run_name="__main__")
    except (ImportError, OSError, RuntimeError) as error:
        print(f"{directory.name}: install.py: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _paths(directory: Path) -> tuple[Path, Path]:
    """The root of the suite and its data."""
    if directory.parent.parent.name == ROOT:
        return directory.parents[2], directory.parents[1] / "data" / ".data"
    data = Path(os.environ.get("DLBS_DATA_DIR") or "data").absolute()
    return directory.parent, data / "torchbench"


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
    command = [*get_pip_cmd(), "install", "-q", "--disable-pip-version-check", *flags, "-r", requirements_txt]
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
        data = Path(importlib.import_module(ROOT).DATA_PATH)
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
    command = [*get_pip_cmd(), "install", "-q", "--disable-pip-version-check", "torch_geometric"]
    subprocess.run(command, check=True)


class s3_utils:  # noqa: N801
    """The part of the module `s3_utils` that scripts use (`from utils import s3_utils`)."""

    checkout_s3_data = staticmethod(checkout_s3_data)
    INPUT_TARBALLS = INPUT_TARBALLS
