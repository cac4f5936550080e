"""Provide the packages that a machine without a network lacks, as wheels.

python -m scripts.gpu.wheels [DIRECTORY]      download them, where there is a network
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from scripts import ROOT

_EXTRAS = ("torch", "reports", "serving", "gpu")
_FOR_TESTS = ("pytest", "hypothesis", "protobuf")
# Packages that a machine for deep learning has, or that are too large to copy: never downloaded, and reported if missing.
_HEAVY = {"torch", "numpy", "pandas", "matplotlib", "scipy", "transformers"}
# Tags of wheels for Linux on x86-64; pip accepts only exact ones.
_PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (34, 28, 27, 26, 24, 17, 12, 5)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
)


def wanted() -> list[str]:
    """Requirements of dlbs, its benchmarks and its tests, from pyproject.toml."""
    import tomllib  # Python 3.11

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *(one for extra in _EXTRAS for one in extras[extra])]
    listed += [one for one in extras["dev"] if _name(one) in _FOR_TESTS]
    unique = {_name(one): one for one in listed if not one.startswith("dlbs[")}
    return list(unique.values())


def missing(requirements: list[str]) -> list[str]:
    """The requirements of which this interpreter has no version."""
    return [one for one in requirements if not _installed(_name(one))]


def download(directory: Path, python: str = "3.12") -> None:
    """Download wheels of all small requirements and their dependencies, for Linux on x86-64.

    Raises:
        SystemExit: pip fails.
    """
    light = [one for one in wanted() if _name(one) not in _HEAVY]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", python, "--dest", str(directory)]
    command += [word for platform in _PLATFORMS for word in ("--platform", platform)]
    # simplejpeg depends on numpy, which must not be downloaded: each package without dependencies, then those of the small ones.
    waiting, seen = light, set(_HEAVY)
    while waiting:
        seen.update(map(_name, waiting))
        done = subprocess.run([*command, "--no-deps", *waiting], check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        needs = {_name(one): one for wheel in directory.glob("*.whl") for one in _needs(wheel)}
        waiting = [one for name, one in needs.items() if name not in seen]


def install(wheels: Path, target: Path) -> tuple[list[str], list[str]]:
    """Install the wheels that this interpreter lacks into a separate directory, for PYTHONPATH.

    Returns:
        The packages that were installed, and those that are still missing, each with the reason.
    """
    lacking = missing(wanted())
    by_name = {_name(wheel.name.split("-")[0]): wheel for wheel in sorted(wheels.glob("*.whl"))}
    chosen, waiting = {}, [_name(one) for one in lacking]
    while waiting:
        name = waiting.pop()
        if name in chosen or name not in by_name or _installed(name):
            continue
        chosen[name] = by_name[name]
        waiting += [_name(one) for one in _needs(by_name[name])]
    without = [f"{one}: no wheel of it in {wheels}" for one in lacking if _name(one) not in by_name]
    # Packages that an earlier session installed are skipped.
    lacked = [wheel for wheel in chosen.values() if not (target / _information(wheel)).exists()]
    if not lacked:
        return sorted(chosen), without
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
    ]
    command += ["--no-compile", "--no-cache-dir", "--upgrade", "--target", str(target), *map(str, lacked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        return [], [*without, *(f"{name}: pip could not install its wheel: {said}" for name in sorted(chosen))]
    return sorted(chosen), without


def _information(wheel: Path) -> str:
    """The directory that marks this wheel as installed."""
    return f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _name(requirement: str) -> str:
    """The normalised name of a package in a requirement, or in the name of a wheel (PEP 503)."""
    found = re.match(r"[A-Za-z0-9._-]*[A-Za-z0-9]", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def _needs(wheel: Path) -> list[str]:
    """The dependencies of a wheel without extras, on Linux and a recent Python."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().split("\n\n")[0].splitlines()
    needs = [line.removeprefix("Requires-Dist:").strip() for line in lines if line.startswith("Requires-Dist:")]
    return [one.split(";")[0].strip() for one in needs if not _elsewhere(one)]


def _elsewhere(requirement: str) -> bool:
    """Whether a requirement is for extras, for other systems or for older Pythons."""
    marker = requirement.partition(";")[2]
    old = re.search(r"python(_full)?_version\s*<=?\s*['\"]3\.(\d+)", marker)
    other = re.search(r"(sys_platform|platform_system|os_name)\s*==\s*['\"](?!linux|Linux|posix)", marker)
    return "extra" in marker or other is not None or (old is not None and int(old[2]) <= 12)


def main() -> None:
    """Download wheels."""
    parser = argparse.ArgumentParser(
        description="Download the packages that a machine without a network probably lacks."
    )
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "wheels")
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    download(directory)
    files = sorted(directory.glob("*.whl"))
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} wheels, {size / 1e6:.1f} MB, in {directory}")


if __name__ == "__main__":
    main()
