"""Check a release: build, check the metadata, install wheel and sdist in empty environments, run the demo with each.

    python -m scripts.release_check [--torch REQUIREMENT] [-- OPTION...]

Options after -- are passed to the demo's `dlbs run`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.environments import ROOT, build_packages, clean_environment, install

__all__ = ["main"]


def _run_demo(programs: Path, directory: Path, options: Sequence[str]) -> None:
    """Run the commands of `make demo` with an installed dlbs, outside the checkout."""
    directory.mkdir()
    plan = shutil.copy(ROOT / "examples" / "first" / "plan.yaml", directory)
    for command in (
        ["run", "--config", plan, "-Pexp.docker=false", "-Pexp.gpus=", *options],
        ["parse", "logs", "--output_file", "results.json"],
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
