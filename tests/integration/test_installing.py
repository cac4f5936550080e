"""Each line of docs/installing.md, in an empty environment: it installs, and the command beside it works there."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.release_check import build_packages, clean_environment, install
from tests.conftest import ROOT
from tests.services import BASE_IMAGE
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.release]

PAGE = (ROOT / "docs" / "installing.md").read_text()
ROWS = re.findall(r"^\| [^|]+ \| `pip install ([^`]+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)
RUN_FIRST = "dlbs run -Pexp.num_batches=2 -- echo hello"  # what later rows show, compare and keep


def section(title: str) -> list[str]:
    """The commands of a section of the page."""
    text = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (?:\$ )?(.+)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages of this checkout, as an index would have them."""
    directory = tmp_path_factory.mktemp("dist")
    build_packages(directory)
    return directory


@pytest.fixture(scope="module")
def constraint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions that these tests run with, so that nothing newer is downloaded for each of them."""
    path = tmp_path_factory.mktemp("constraint") / "versions.txt"
    versions = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
    path.write_text("".join(f"{name}=={version}\n" for name, version in versions.items() if name != "dlbs"))
    return path


@pytest.fixture(scope="module")
def byte_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Python keeps what it has compiled: uv links the same files into each environment, which is always in the same place."""
    return tmp_path_factory.mktemp("byte_code")


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a test makes its environment; there is none before and after it."""
    directory = tmp_path_factory.getbasetemp() / "environment"
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def shell(tmp_path: Path, packages: Path, constraint: Path, byte_code: Path) -> Callable[..., str]:
    """Run a command line where nothing leads to this checkout."""

    def run(command: str, programs: Path | None = None, directory: Path = tmp_path) -> str:
        environment = clean_environment(packages, PIP_CONSTRAINT=str(constraint), UV_CONSTRAINT=str(constraint))
        environment["PYTHONPYCACHEPREFIX"] = str(byte_code)
        environment |= {f"PIPX_{name}": str(tmp_path / name) for name in ("HOME", "BIN_DIR", "MAN_DIR")}
        if programs:
            environment["PATH"] = f"{programs}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=directory, env=environment, capture_output=True, text=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


def test_every_extra_has_a_line(packages: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        extras = set(re.findall(r"^Provides-Extra: (\S+)$", archive.read(metadata).decode(), re.MULTILINE))
    shown = {extra for requirement, _ in ROWS for extra in re.findall(r"\[(\w+)\]", requirement)}
    assert shown | {"dev", "docs", "onnxruntime"} >= extras  # for work on DLBS itself; part of `export`
    assert ROWS[0][0] == "dlbs"


@pytest.mark.parametrize(("requirement", "command"), ROWS, ids=[requirement for requirement, _ in ROWS])
def test_what_is_installed_does_what_it_is_for(
    environment: Path,
    tmp_path: Path,
    packages: Path,
    constraint: Path,
    shell: Callable[..., str],
    requirement: str,
    command: str,
) -> None:
    """uv installs, from the same requirement as pip would: it links from its cache where pip copies gigabytes."""
    (word,) = shlex.split(requirement)
    programs = install(environment, word, packages=packages, constraint=constraint)
    shell(RUN_FIRST, programs)
    if command == "dlbs serve logs":
        output = tmp_path / "served"
        with output.open("w") as stream:
            words = [str(programs / "dlbs"), "serve", "logs", "--port", "0"]
            served = subprocess.Popen(
                words, cwd=tmp_path, env=clean_environment(packages), stdout=stream, stderr=stream
            )
        try:
            wait_until(lambda: "http://" in output.read_text() or served.poll() is not None)
            assert "http://" in output.read_text()
        finally:
            served.terminate()
            served.wait(PATIENCE)
    else:
        shell(command, programs)


@pytest.mark.parametrize("command", section("With uv or pipx"))
def test_without_an_environment_of_ones_own(tmp_path: Path, shell: Callable[..., str], command: str) -> None:
    said = shell(command)
    if command.startswith("pipx"):
        said = shell(f"{tmp_path / 'BIN_DIR' / 'dlbs'} --version")
    assert "dlbs, version" in said


@pytest.mark.parametrize("command", section("From a checkout"))
def test_from_a_checkout(environment: Path, tmp_path: Path, shell: Callable[..., str], command: str) -> None:
    checkout = tmp_path / "checkout"
    for name in ("LICENSE", "README.md", "config", "dlbs", "docker", "pyproject.toml", "python", "scripts"):
        checkout.mkdir(exist_ok=True)
        (checkout / name).symlink_to(ROOT / name)
    programs = install(environment, command.split()[0])
    shell(command, programs, checkout)
    if command.startswith("uv venv "):
        programs = checkout / ".venv" / "bin"
    elif command.startswith("pip wheel "):
        (wheel,) = (checkout / "dist").glob("dlbs-*.whl")
        shell(f"pip install {wheel}", programs)
    assert "hello" in shell("dlbs run -Pexp.num_batches=2 -- echo hello && cat logs/*.log", programs)


@pytest.mark.needs("docker", "base image")
def test_in_a_container(tmp_path: Path, shell: Callable[..., str]) -> None:
    """The Dockerfile, with a base image of this machine; only the core, which takes the shortest to install."""
    build, run = section("In a container")
    name = f"dlbs-test/itself:{tmp_path.name}"
    shell(f"{build.replace('-t dlbs', f'-t {name}')} --build-arg BASE={BASE_IMAGE} --build-arg EXTRAS=", directory=ROOT)
    try:
        said = shell(run.replace(" dlbs run", f" {name} run -Pexp.num_batches=2"))
        assert "1 experiment: 1 ok" in said
        (log,) = (tmp_path / "logs").glob("*.log")
        assert log.stat().st_uid == tmp_path.stat().st_uid
        assert "Time, ms" in shell(run.partition(" dlbs run")[0] + f" {name} report logs")
    finally:
        subprocess.run(["docker", "image", "rm", "--force", name], check=False, stdout=subprocess.DEVNULL)


def test_release_check_with_a_small_demo(constraint: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "scripts.release_check", "--torch", f"torch=={importlib.metadata.version('torch')}", "--",
            "-Vexp.model=[deep_mnist]", "-Vexp.replica_batch=[1]", "-Pexp.num_batches=2", "-Pexp.num_warmup_batches=1",
        ],
        cwd=ROOT, env=clean_environment(UV_CONSTRAINT=str(constraint)), capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
    assert done.stdout.count("Throughput, images/s") == 2
    assert "release check passed" in done.stdout
