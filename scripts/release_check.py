"""Check a release: build, check the metadata, install wheel and sdist in empty environments, run the demo with each.

    python -m scripts.release_check [--torch REQUIREMENT] [-- OPTION...]

Options after -- are passed to the demo's `dlbs run`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts import ROOT


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


def _run_demo(programs: Path, directory: Path, options: Sequence[str]) -> None:
    """Run the commands of `make demo` with an installed dlbs, outside the checkout."""
    directory.mkdir()
    plan = shutil.copy(ROOT / "examples" / "first" / "plan.yaml", directory)
    for command in (
        ["run", "--plan", plan, "-Pexp.docker=false", "-Pexp.gpus=", *options],
        ["parse", "logs", "--output-file", "results.json"],
        ["report", "results.json"],
    ):
        subprocess.run([str(programs / "dlbs"), *command], cwd=directory, env=clean_environment(), check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all steps; the first that fails ends the program with its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch", default="torch", help="PyTorch requirement for the demo")
    parser.add_argument("options", nargs="*", help="options of dlbs run")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        packages = directory / "dist"
        try:
            sdist, wheel = build_packages(packages)
            print(f"built {sdist.name} and {wheel.name}", flush=True)
            subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)], check=True)
            for package in (wheel, sdist):
                kind = "wheel" if package is wheel else "sdist"
                programs = install(directory / kind, given.torch, f"dlbs[torch] @ {package.as_uri()}")
                print(f"installed {package.name}", flush=True)
                _run_demo(programs, directory / f"demo-{kind}", given.options)
        except subprocess.CalledProcessError as error:
            sys.exit(f"release check failed: {' '.join(map(str, error.cmd))} exited with {error.returncode}")
    print("release check passed")


if __name__ == "__main__":
    main()
