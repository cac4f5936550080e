"""What exactly ran: facts about the code and the packages of a command, found without running anything of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark_core.log import LOG_VARIABLE
from benchmark_core.provenance import Repository, Software, digest_of, provenance, without_credentials
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

USER = ("-c", "user.name=a", "-c", "user.email=a@b")


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *USER, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    (root / "package").mkdir(parents=True)
    (root / "bench.py").write_text("import time, module as m\nfrom package import (\n    one,\n    two as second,\n)\n")
    (root / "module.py").write_text("from package.three import x\n")
    for name in ("__init__", "one", "two", "three", "other"):
        (root / "package" / f"{name}.py").write_text(f"# {name}\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    monkeypatch.chdir(root)
    (tmp_path / "logs").mkdir()
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "logs" / "x.log"))
    return root


COMMAND = (sys.executable, "bench.py")


def found(*words: str) -> dict[str, Any]:
    facts = provenance(words or COMMAND)
    assert json.dumps(facts)
    return {name.removeprefix("exp."): value for name, value in facts.items()}


def test_a_clean_checkout(repository: Path) -> None:
    git(repository, "tag", "-a", "v1.0", "-m", "x")
    facts = found()
    assert facts["code.commit"] == git(repository, "rev-parse", "HEAD")
    assert (facts["code.branch"], facts["code.tag"], facts["code.dirty"], facts["code.diff"]) == (
        "main",
        "v1.0",
        False,
        None,
    )
    assert facts["code.root"] == str(repository)
    git(repository, "pack-refs", "--all")
    assert found()["code.tag"] == "v1.0"
    git(repository, "checkout", "-q", "--detach")
    assert found()["code.branch"] is None


def test_the_files_are_the_script_and_what_it_imports(repository: Path) -> None:
    names = {"bench.py", "module.py", *(f"package/{name}.py" for name in ("__init__", "one", "two", "three"))}
    assert set(found()["code.files"]) == names
    assert set(found(sys.executable, "-m", "package.one")["code.files"]) == {"package/__init__.py", "package/one.py"}
    assert set(found("env", "X=1", sys.executable, "module.py")["code.files"]) > {"module.py", "package/three.py"}
    (repository / "data.bin").write_bytes(b"x")
    facts = found(*COMMAND, "--data=data.bin")
    assert set(facts["code.files"]) == names
    assert set(facts["code.data"]) == {"data.bin"}


@pytest.mark.parametrize("name", ["new.py", "ne\nw.py", "n\N{EURO SIGN}w.py", "ne\tw 'x\".py"])
def test_the_difference_applies_to_the_commit(repository: Path, tmp_path: Path, name: str) -> None:
    (repository / "module.py").write_text("# changed\n")
    (repository / name).write_bytes(b"# new, without a newline \xff")
    (repository / "unrelated.py").write_text("")
    facts = found(*COMMAND, name)
    assert facts["code.dirty"] is True
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    git(copy, "apply", str(tmp_path / "logs" / "provenance" / f"{facts['code.diff']}.diff"))
    assert (copy / "module.py").read_text() == "# changed\n"
    assert (copy / name).read_bytes() == (repository / name).read_bytes()
    assert not (copy / "unrelated.py").exists()
    assert found(*COMMAND, name)["code.diff"] == facts["code.diff"]


def test_nothing_of_a_repository_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = tmp_path / "ran"
    evil = repository / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch '{witness}'\ncat\n")
    evil.chmod(0o755)
    (repository / "git").write_text(evil.read_text())
    (repository / "git").chmod(0o755)
    (repository / ".gitattributes").write_text("*.py filter=f diff=d merge=d\nmodule.py diff=t\n")
    inner = repository / "inner"
    shutil.copytree(repository, inner, ignore=shutil.ignore_patterns("inner"))
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./inner")
    git(repository, "add", "-A", ":!*.sh")
    git(repository, "commit", "-q", "-m", "attributes")
    for place in (repository, inner):
        for key, value in {
            "core.fsmonitor": str(evil), "core.hooksPath": str(tmp_path), "core.pager": str(evil), "diff.external": str(evil),
            "filter.f.clean": str(evil), "filter.f.smudge": str(evil), "filter.f.process": str(evil), "filter.f.required": "true",
            "diff.d.command": str(evil), "diff.t.textconv": str(evil), "alias.diff": f"!{evil}", "alias.ls-files": f"!{evil}",
            "core.sshCommand": str(evil), "core.gitProxy": str(evil), "core.askPass": str(evil), "credential.helper": f"!{evil}",
            "extensions.partialClone": "origin", "remote.origin.url": f"ext::{evil}", "core.attributesFile": str(evil),
            "diff.ignoreSubmodules": "none", "status.submoduleSummary": "true", "submodule.inner.update": f"!{evil}",
        }.items():  # fmt: skip
            subprocess.run(
                ["git", "config", "-f", str(Repository.around(place / "_").git / "config"), key, value], check=True
            )  # type: ignore[union-attr]
        hooks = Repository.around(place / "_").git / "hooks"  # type: ignore[union-attr]
        hooks.mkdir(exist_ok=True)
        for name in (
            "fsmonitor-watchman",
            "post-index-change",
            "post-checkout",
            "query-watchman",
            "pre-commit",
            "reference-transaction",
        ):
            shutil.copy(evil, hooks / name)
        (place / "module.py").write_text("# changed\n")
    for name, value in {
        "PATH": f"{repository}:.:{os.environ['PATH']}", "GIT_EXTERNAL_DIFF": str(evil), "GIT_PAGER": str(evil), "GIT_DIR": str(tmp_path),
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": str(evil), "GIT_SSH_COMMAND": str(evil),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    facts = found()
    assert not witness.exists()
    assert facts["code.dirty"] is True
    assert set(facts["code.submodules"]) == {"inner"}
    assert facts["code.submodules"]["inner"]["diff"]
    for name in ("GIT_DIR", "GIT_CONFIG_COUNT", "GIT_EXTERNAL_DIFF"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", os.environ["PATH"].removeprefix(f"{repository}:.:"))
    subprocess.run(["git", "diff", "--ext-diff"], cwd=repository, capture_output=True)
    assert witness.exists()  # the trap works


def test_a_git_that_hangs_is_stopped(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\nexec sleep {PATIENCE}\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("DLBS_GIT_SECONDS", "0.2")
    began = time.monotonic()
    facts = found()
    assert time.monotonic() - began < PATIENCE
    assert facts["code.commit"]
    assert facts["code.dirty"] is None
    assert "took longer" in facts["code.unknown"]["dirty"]


def without_git(repository: Path) -> None:
    os.environ["PATH"] = str(repository)


def no_repository(repository: Path) -> None:
    shutil.rmtree(repository / ".git")


def no_commit(repository: Path) -> None:
    shutil.rmtree(repository / ".git")
    git(repository, "init", "-q")


def damaged(repository: Path) -> None:
    (repository / ".git" / "index").write_bytes(b"DIRC nonsense")


def bare(repository: Path) -> None:
    (repository / ".git").rename(repository / "x")
    for path in (repository / "x").iterdir():
        path.rename(repository / path.name)


def no_objects(repository: Path) -> None:
    shutil.rmtree(repository / ".git" / "objects")


def of_another_user(repository: Path) -> None:
    os.chown(repository / ".git", 12345, 12345)


def pipes(repository: Path) -> None:
    for name in ("commondir", "packed-refs", "config", "refs/heads/main"):
        (repository / ".git" / name).unlink(missing_ok=True)
        os.mkfifo(repository / ".git" / name)


@pytest.mark.parametrize(
    ("spoil", "what", "reason"),
    [
        (without_git, "dirty", "git is not installed"),
        (no_repository, "commit", "not in a Git repository"),
        (bare, "commit", "not in a Git repository"),
        (no_commit, "commit", "no commit yet"),
        (damaged, "dirty", "git failed"),
        (no_objects, "dirty", "git failed"),
        (pipes, "commit", "cannot be read"),
        pytest.param(
            of_another_user,
            "dirty",
            "dubious ownership",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="takes root"),
        ),
    ],
)
def test_an_unknown_fact_has_a_reason(
    repository: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, what: str, reason: str
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    spoil(repository)
    facts = found()
    assert facts[f"code.{what}"] is None
    assert reason in facts["code.unknown"][what]
    assert "bench.py" in facts["code.files"]


def test_a_shallow_repository_and_a_worktree(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"))
    for place in ("shallow", "tree"):
        monkeypatch.chdir(tmp_path / place)
        assert found()["code.dirty"] is False
        (tmp_path / place / "module.py").write_text("# changed\n")
        assert found()["code.dirty"] is True


@pytest.mark.parametrize("case", ["a long word", "a link to nowhere", "a submodule", "a directory of links in PATH"])
def test_names_that_cannot_exist_hide_no_other_fact(
    repository: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    words, name = COMMAND, "x" * 300
    if case == "a long word":
        words += ("--prompt", name)
    elif case == "a link to nowhere":
        (repository / "package" / ".git").write_text(f"gitdir: /{name}")
        words = (sys.executable, "package/one.py")
    elif case == "a submodule":
        (repository / ".gitmodules").write_text(f'[submodule "x"]\n    path = {name}\n')
    else:
        (repository.parent / "loop").symlink_to("loop")
        monkeypatch.setenv("PATH", f"{repository.parent}/loop", prepend=os.pathsep)
    facts = found(*words)
    assert facts["code.commit"] == git(repository, "rev-parse", "HEAD")
    assert facts["code.files"][words[1]]
    assert "code.unknown" not in facts


def test_a_remote_is_logged_without_its_token(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://user:token@example.org/x.git?private_token=secret")
    assert found()["code.remote"] == "https://example.org/x.git"
    assert "token" not in json.dumps(found())
    assert without_credentials("git@example.org:x.git") == "git@example.org:x.git"


def environment(directory: Path, *packages: str) -> Path:
    """An environment with these packages, given by the names of their metadata."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    (site,) = directory.glob("lib/python3*/site-packages")
    for package in packages:
        (site / package).mkdir()
    return site


def test_the_packages_of_another_interpreter_are_known_without_starting_it(repository: Path, tmp_path: Path) -> None:
    site = environment(
        tmp_path / "env",
        "Torch_Vision-1.2.dist-info",
        "torch-2.12.0+cu130.dist-info",
        "x-3-py3.11.egg-info",
        "nonsense",
        "~umpy-1.26.dist-info",  # as an interrupted pip leaves it
    )
    source = tmp_path / "source"
    shutil.copytree(repository, source)
    (site / "mine-0.dist-info").mkdir()
    (site / "mine-0.dist-info" / "direct_url.json").write_text(
        json.dumps({"url": f"file://{source}", "dir_info": {"editable": True}})
    )
    (site / "vcs-0.dist-info").mkdir()
    origin = {"url": "https://t:oken@example.org/v.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    (site / "vcs-0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    (site / "bad-0.dist-info").mkdir()
    (site / "bad-0.dist-info" / "direct_url.json").write_text("[")
    facts = found(str(tmp_path / "env" / "bin" / "python"), "bench.py")
    assert facts["software.python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert facts["software.versions"] == {"torch": "2.12.0+cu130"}
    lines = (tmp_path / "logs" / "provenance" / f"{facts['software.packages']}.txt").read_text().splitlines()
    assert lines[1:] == [
        "bad==0", "# editable: mine==0", "torch==2.12.0+cu130", "torch-vision==1.2", "vcs @ git+https://example.org/v.git@abc", "x==3",
    ]  # fmt: skip
    assert facts["code.editable"]["mine"] == {"path": str(source), "commit": facts["code.commit"], "diff": ""}


def test_an_environment_of_conda(tmp_path: Path) -> None:
    """Its packages are no package index's, and not all of them are Python's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3.12").write_text("")
    (tmp_path / "bin" / "python").symlink_to("python3.12")
    (tmp_path / "conda-meta").mkdir()
    for name in ("python-3.12.4-h1_0", "mkl-2023.1.0-h213fc3f_46344", "numpy-2.0-py312h1"):
        (tmp_path / "conda-meta" / f"{name}.json").write_text("{}")
    package = tmp_path / "lib" / "python3.12" / "site-packages" / "numpy-2.0.dist-info"
    package.mkdir(parents=True)
    (package / "direct_url.json").write_text(json.dumps({"url": "file:///where/conda/built/it", "dir_info": {}}))
    software = Software.of(str(tmp_path / "bin" / "python"))
    assert software.version == "3.12.4"
    assert software.decisive == {"mkl": "2023.1.0", "numpy": "2.0"}
    assert software.lines[1:] == ["# system: mkl==2023.1.0", "# system: numpy==2.0", "# system: python==3.12.4"]


def test_an_interpreter_of_debian_and_one_of_pypy(tmp_path: Path) -> None:
    for folder in (
        "bin",
        "lib/python3/dist-packages/six-1.16.0.egg-info",
        "lib/pypy3.10/site-packages/numpy-2.0.dist-info",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin" / "python3.9").write_text("")
    (tmp_path / "bin" / "pypy3.10").write_text("")
    assert Software.of(str(tmp_path / "bin" / "python3.9")).lines == ["# Python 3.9", "# system: six==1.16.0"]
    assert "numpy==2.0" in Software.of(str(tmp_path / "bin" / "pypy3.10")).lines


def test_programs_that_choose_an_interpreter(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("uv", "run", "bench.py")["software.interpreter"] is None  # not made yet
    environment(repository / ".venv", "torch-2.12.0.dist-info")
    environment(repository / "conda" / "envs" / "mine", "torch-2.13.0.dist-info")
    (repository / "conda" / "bin").mkdir()
    (repository / "conda" / "bin" / "conda").touch(0o755)
    monkeypatch.setenv("PATH", str(repository / "conda" / "bin"), prepend=os.pathsep)
    for words in (["uv", "run", "--frozen", "python", "bench.py"], ["bash", "-c", "poetry run python bench.py"]):
        facts = found(*words)
        assert facts["software.versions"] == {"torch": "2.12.0"}
        assert "module.py" in facts["code.files"]
    assert found("conda", "run", "-n", "mine", "python", "bench.py")["software.versions"] == {"torch": "2.13.0"}


def test_where_no_file_can_be_written_the_log_has_the_packages(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "missing" / "x.log"))
    facts = found()
    assert facts["software.package_list"][0].startswith("# Python 3")


def test_a_large_file_has_a_digest_of_its_ends(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
        before = digest_of(path)
        stream.seek(-1, os.SEEK_END)
        stream.write(b"x")
    assert before != digest_of(path)
    assert str(before).startswith("~")


def test_a_script_inside_a_word_of_a_shell(repository: Path) -> None:
    facts = found("bash", "-c", f"{sys.executable} bench.py | cat")
    assert {"bench.py", "module.py", "package/two.py"} <= set(facts["code.files"])
    assert facts["software.interpreter"] == sys.executable


@pytest.mark.parametrize("command", [("./tools/run.sh",), ("bash", "tools/run.sh"), ("tools/named", "x")])
def test_the_scripts_that_a_shell_script_starts(repository: Path, command: tuple[str, ...]) -> None:
    (repository / "tools").mkdir()
    (repository / "tools" / "beside.py").write_text("import three\n")
    (repository / "tools" / "three.py").write_text("")
    for name in ("run.sh", "named"):
        (repository / "tools" / name).write_text(
            '#!/usr/bin/env bash\n# not module.py\nset -e\nPLACE=$(dirname "$0")\n'
            f'{sys.executable} "$PLACE/beside.py" --seed=1 && {sys.executable} -m package.one | tee out.txt\n'
        )
        (repository / "tools" / name).chmod(0o755)
    facts = found(*command)
    local = {name for name in facts["code.files"] if not name.startswith("/")}
    assert local == {command[-1] if len(command) < 3 and "bash" in command else command[0].removeprefix("./"),
                     "tools/beside.py", "tools/three.py", "package/__init__.py", "package/one.py"}  # fmt: skip
    assert facts["software.interpreter"] == sys.executable


def test_a_data_set_has_a_digest_of_names_and_sizes(repository: Path) -> None:
    images = repository / "data" / "train" / "cat"
    images.mkdir(parents=True)
    (images / "1.jpg").write_bytes(b"xx")
    (repository / "data" / "labels.json").write_text("[1]")
    digests = []
    for change in (lambda: None, lambda: (repository / "data" / "labels.json").write_text("[2]"),
                   lambda: (images / "1.jpg").write_bytes(b"xxx"), lambda: (images / "2.jpg").touch()):  # fmt: skip
        change()
        data = found(*COMMAND, "--data=data", ".")["code.data"]
        assert set(data) == {"data"}
        digests.append(data["data"])
    assert len(set(digests)) == 4
    assert digests[0].startswith("~")
    for number in range(2001):
        (repository / "data" / str(number)).touch()
    assert found(*COMMAND, "--data=data")["code.data"] == {"data": None}


def test_the_repositories_of_the_script_and_of_the_working_directory(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(repository), str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "second")
    (repository / "module.py").write_text("# changed\n")
    facts = found(sys.executable, str(other / "bench.py"))
    assert (facts["code.root"], facts["code.commit"]) == (str(other), git(other, "rev-parse", "HEAD"))
    (state,) = facts["code.repositories"].values()
    assert state["commit"] == git(repository, "rev-parse", "HEAD")
    assert (tmp_path / "logs" / "provenance" / f"{state['diff']}.diff").is_file()


def test_files_of_a_submodule_belong_to_its_difference(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(repository), "inner")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "inner"), "inner")
    git(repository, "commit", "-q", "-a", "-m", "submodule")
    (repository / "bench.py").write_text("import sys\nfrom inner import module\n")
    git(repository, "commit", "-q", "-a", "-m", "use it")
    assert found()["code.dirty"] is False
    (repository / "inner" / "module.py").write_text("# changed\n")
    facts = found()
    assert facts["code.dirty"] is False
    assert "inner/module.py" in facts["code.files"]
    difference = facts["code.submodules"]["inner"]["diff"]
    assert "# changed" in (tmp_path / "logs" / "provenance" / f"{difference}.diff").read_text()
    assert "code.repositories" not in facts
