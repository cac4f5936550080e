"""The same run again: exactly, side by side with the first one, and on another machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import RunDlbs, start_dlbs
from tests.experiments import logs, values
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


def wheel(directory: Path, version: str) -> None:
    """A package that the index of the tests, a directory, has in two versions."""
    directory.mkdir(exist_ok=True)
    with zipfile.ZipFile(directory / f"tiny-{version}-py3-none-any.whl", "w") as archive:
        padding = "#" * int(version[0])  # another size: Python takes bytecode of the same size and second for current
        archive.writestr("tiny.py", f"VERSION = {version!r}  {padding}\n")
        archive.writestr(
            f"tiny-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n"
        )
        archive.writestr(
            f"tiny-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"tiny-{version}.dist-info/RECORD", "")


BACKEND = """\
import zipfile

def build_editable(directory, settings=None, metadata=None):
    with zipfile.ZipFile(f"{directory}/editable-1-py3-none-any.whl", "w") as archive:
        archive.writestr("editable.pth", __file__.rpartition("/")[0])
        archive.writestr("editable-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: editable\\nVersion: 1\\n")
        archive.writestr("editable-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("editable-1.dist-info/RECORD", "")
    return "editable-1-py3-none-any.whl"

def get_requires_for_build_editable(settings=None):
    return []

build_wheel = build_editable
"""

UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


def install(directory: Path, version: str) -> None:
    command = [UV, "pip", "install", "-q", "--python", "env/bin/python", f"tiny=={version}"]
    subprocess.run(command, cwd=directory, check=True, env=os.environ)


@pytest.fixture
def first(dlbs: RunDlbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a run with a difference to the commit and version 1.0 of a package; both have changed since."""
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", version)
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    (tmp_path / ".gitignore").write_text("logs\nexact\nenv\nwheels\n__pycache__\n")
    (tmp_path / "bench.py").write_text(
        "import tiny, local, new\nprint('__results.seen__=', f'\"{local.X} {tiny.VERSION}\"')\n"
    )
    (tmp_path / "local.py").write_text("X = 'committed'\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "one")
    (tmp_path / "local.py").write_text("X = 'changed'\n")
    (tmp_path / "new.py").write_text("")
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, "env"], cwd=tmp_path, check=True)
    install(tmp_path, "1.0")
    dlbs("run", "-Pexp.num_batches=1", "--", "env/bin/python", "bench.py", check=True)
    (log,) = logs(tmp_path)
    assert values(log)["results.seen"] == "changed 1.0"
    (tmp_path / "local.py").write_text("X = 'changed again'\n")
    install(tmp_path, "2.0")
    return log


def test_a_run_is_repeated_exactly(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    name = str(first.relative_to(tmp_path))
    before = first.read_text()
    done = dlbs("rerun", "--exact", name)
    assert done.returncode == 0, done.stderr
    again = tmp_path / "exact" / "logs" / first.name
    assert values(again)["results.seen"] == "changed 1.0"
    assert values(again)["exp.code.diff"] == values(first)["exp.code.diff"]
    assert "the same code and packages as in the first run" in done.stderr
    assert first.read_text() == before
    assert (tmp_path / "local.py").read_text() == "X = 'changed again'\n"
    document = json.loads(dlbs("diff", name, str(again), "--json", check=True).stdout)
    assert not document["packages"]
    assert set(document["code"]) == {"exp.code.branch", "exp.code.directory", "exp.code.root"}
    built = dlbs("rerun", "--exact", name, UV_FIND_LINKS="/nowhere", check=True)  # everything is there already
    assert "the same code" in built.stderr
    done = dlbs("rerun", name, check=True)
    assert "not as it ran: local.py changed (" in done.stderr
    assert "; tiny 1.0 → 2.0; --exact builds what ran" in done.stderr
    assert values(first)["results.seen"] == "changed again 2.0"
    shown = dlbs("diff", name, str(again), check=True, COLUMNS="80").stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    for words in ("tiny", "2.0", "1.0", "file local.py", "results.seen"):
        assert words in shown


def test_another_machine_repeats_it_from_a_bundle(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    told = dlbs("bundle", "logs", "--code", "-o", "bundle.tar.gz", check=True).stderr
    assert "1 experiment → bundle.tar.gz" in told
    there = tmp_path / "there"
    with tarfile.open(tmp_path / "bundle.tar.gz") as archive:
        archive.extractall(there, filter="data")
    assert "python bench.py" in dlbs("report", "bundle.tar.gz", "--format", "markdown", check=True).stdout
    readme = (there / "README.md").read_text()
    assert "git clone repository.bundle repository" in readme
    assert first.name in readme
    git(there, "clone", "-q", "repository.bundle", "repository")
    shutil.move(tmp_path / ".git", tmp_path / "gone")
    shutil.rmtree(tmp_path / "env")
    refused = dlbs("rerun", "--exact", f"there/logs/{first.name}")
    assert refused.returncode == 2
    assert "--repo DIR" in refused.stderr
    done = dlbs("rerun", "--exact", f"there/logs/{first.name}", "--repo", "there/repository")
    assert done.returncode == 0, done.stderr
    assert values(tmp_path / "exact" / "logs" / first.name)["results.seen"] == "changed 1.0"
    (planned,) = json.loads((there / "plan.json").read_text())
    assert planned["exp.log_file"] == f"${{exp.log_dir}}/{first.name}"
    assert (
        "1 already finished"
        in dlbs("run", "--no-validation", "--plan", "there/plan.json", "-Pexp.log_dir=there/logs", check=True).stderr
    )


def test_a_checkout_that_was_interrupted_is_made_again(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    dlbs("rerun", "--exact", str(first), check=True)
    (complete,) = (tmp_path / "exact").glob("*.complete")
    git(complete.with_suffix(""), "checkout", "-q", "--", ".")  # as before the difference was applied
    complete.unlink()
    dlbs("rerun", "--exact", str(first), check=True)
    assert values(tmp_path / "exact" / "logs" / first.name)["results.seen"] == "changed 1.0"


def test_a_link_among_the_logs_takes_no_other_file_into_the_bundle(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    script = Path(f"{first}.sh")
    script.unlink()
    script.symlink_to(tmp_path / "secret")
    done = dlbs("bundle", "logs", "-o", "bundle.tar.gz")
    assert done.returncode != 0
    assert "link" in done.stderr
    assert not (tmp_path / "bundle.tar.gz").exists()


def test_what_is_missing_is_said(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    name = str(first.relative_to(tmp_path))
    folder = tmp_path / "logs" / "provenance"

    def refused(*words: str, **environment: str) -> None:
        done = dlbs("rerun", "--exact", name, **environment)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr

    refused("the indexes of packages do not have all of them", "tiny", UV_FIND_LINKS=str(tmp_path))
    (difference,) = folder.glob("*.diff")
    kept = difference.read_bytes()
    shutil.rmtree(tmp_path / "exact")
    git(tmp_path, "worktree", "prune")
    difference.write_bytes(kept.replace(b"changed", b"evil"))
    refused("the difference to the commit is missing or damaged", difference.name)
    difference.write_bytes(kept)
    (list_,) = (path for path in folder.glob("*.txt") if "tiny==1.0" in path.read_text())
    list_.unlink()
    refused("the list of packages is missing or damaged")
    shutil.move(tmp_path / ".git", tmp_path / "gone")
    git(tmp_path, "init", "-q")
    shutil.rmtree(tmp_path / "exact")
    refused("does not have the commit", "--repo DIR")
    first.write_text(first.read_text().replace("__exp.code.commit__", "__x__"))
    refused("names no commit")


def test_parts_of_the_code_are_built_too(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    """A submodule and an editable package with differences, and data that Git ignores."""
    (tmp_path / ".gitignore").write_text("*\n!bench.py\n!.gitmodules\n!inner\n")
    for name in ("origin", "editable"):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q", "-b", "main")
        (tmp_path / name / f"{name}.py").write_text("X = 'committed'\n")
    (tmp_path / "editable" / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n[project]\nname = 'editable'\nversion = '1'\n"
    )
    (tmp_path / "editable" / "backend.py").write_text(BACKEND)
    for name in ("origin", "editable"):
        git(tmp_path / name, "add", "-A")
        git(tmp_path / name, "commit", "-q", "-m", "one")
    git(tmp_path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "origin"), "inner")
    subprocess.run(
        [UV, "pip", "install", "-q", "--python", "env/bin/python", "-e", "editable"], cwd=tmp_path, check=True
    )
    (tmp_path / "bench.py").write_text(
        "import sys, editable\nfrom inner import origin\n"
        "print('__results.seen__=', f'\"{origin.X} {editable.X} {open(sys.argv[1]).read()}\"')\n"
    )
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "two")
    for path, name in (("inner/origin.py", "inner"), ("editable/editable.py", "editable")):
        (tmp_path / path).write_text(f"X = '{name} changed'\n")
    (tmp_path / "data.txt").write_text("data")
    dlbs(
        "run", "-Pexp.num_batches=1", "-Pexp.log_dir=others", "--", "env/bin/python", "bench.py", "data.txt", check=True
    )
    (log,) = (tmp_path / "others").glob("*.log")
    expected = "inner changed editable changed data"
    assert values(log)["results.seen"] == expected
    for path in ("inner/origin.py", "editable/editable.py"):
        (tmp_path / path).write_text("X = 'changed since'\n")
    done = dlbs("rerun", "--exact", str(log), GIT_ALLOW_PROTOCOL="file")
    assert done.returncode == 0, done.stderr
    assert values(tmp_path / "exact" / "logs" / log.name)["results.seen"] == expected
    (tmp_path / "data.txt").write_text("other data")
    told = dlbs("rerun", "--exact", str(log), GIT_ALLOW_PROTOCOL="file", check=True).stderr
    assert "note: data.txt is not as it was before the first run" in told
    assert (
        "package editable changed ("
        in dlbs(
            "run",
            "-Pexp.num_batches=1",
            "-Pexp.log_dir=others",
            "--",
            "env/bin/python",
            "bench.py",
            "data.txt",
            check=True,
        ).stderr
    )


def test_packages_of_a_system_have_to_be_there(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    lines = ["# Python 3.11.2", "# system: python-apt==2.6.0", "tiny==1.0+cpu"]
    content = first.read_text()
    first.write_text(f"{content}__exp.software.package_list__= {json.dumps(lines)}\n")
    refused = dlbs("rerun", "--exact", str(first))
    assert refused.returncode == 2
    assert "packages of Debian or conda are missing: python-apt==2.6.0" in refused.stderr
    first.write_text(f"{content}__exp.software.package_list__= {json.dumps([lines[0], lines[2]])}\n")
    refused = dlbs("rerun", "--exact", str(first))
    assert refused.returncode == 2
    assert "UV_INDEX=https://download.pytorch.org/whl/cpu dlbs rerun" in " ".join(refused.stderr.split())


def test_a_run_is_repeated_where_it_ran(dlbs: RunDlbs, first: Path, tmp_path: Path) -> None:
    """From another directory; and with a working directory of its own, which is not applied twice."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def rerun(*words: str) -> str:
        process = start_dlbs(elsewhere, "rerun", *words)
        said = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 0, said
        return said

    assert "not as it ran: local.py changed (" in rerun(str(first))
    assert values(first)["results.seen"] == "changed again 2.0"
    (tmp_path / "sub").mkdir()
    for name in ("bench.py", "local.py", "new.py"):
        shutil.copy(tmp_path / name, tmp_path / "sub")
    git(tmp_path, "add", "sub")
    git(tmp_path, "commit", "-q", "-m", "two")
    words = ("-Pexp.num_batches=1", "-Pexp.working_dir=sub", "-Pexp.log_dir=others")
    dlbs("run", *words, "--", str(tmp_path / "env/bin/python"), "bench.py", check=True)
    (log,) = (tmp_path / "others").glob("*.log")
    rerun(str(log))
    assert "the same code and packages" in rerun("--exact", str(log))
    again = elsewhere / "exact" / "logs" / log.name
    assert values(again)["exp.code.directory"].endswith("/sub")


def test_an_option_of_the_exact_mode_alone_is_an_error(dlbs: RunDlbs) -> None:
    done = dlbs("rerun", "x.log", "--repo", "x")
    assert done.returncode == 2
    assert "--repo requires --exact" in done.stderr
