"""Virtual environments, filled by uv because it is much faster than pip, and packages built from this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "build_packages", "clean_environment", "install"]

ROOT = Path(__file__).resolve().parent.parent


def clean_environment(packages: Path | None = None, **more: str) -> dict[str, str]:
    """The environment without variables that point Python to this checkout; pip, pipx and uv also search the directory `packages`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DLBS_ROOT"}
    }
    links = [*environment.get("PIP_FIND_LINKS", "").split(), *([str(packages)] if packages else [])]
    if links:
        environment["PIP_FIND_LINKS"] = " ".join(links)
        environment["UV_FIND_LINKS"] = ",".join(links)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    return {**environment, **more}


def build_packages(directory: Path) -> tuple[Path, Path]:
    """Build the sdist and the wheel into an empty directory; returns both paths, the sdist first."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    subprocess.run(command, env=clean_environment(), check=True, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return sdist, wheel


def install(directory: Path, *requirements: str, packages: Path | None = None, constraint: Path | None = None) -> Path:
    """Make an environment and install into it; returns its directory of programs.

    Raises:
        subprocess.CalledProcessError: The installation fails.
    """
    more = {"UV_CONSTRAINT": str(constraint)} if constraint else {}
    environment = clean_environment(packages, **more)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(directory)], env=environment, check=True)
    python = directory / "bin" / "python"
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", str(python), *requirements], env=environment, check=True
    )
    return python.parent
