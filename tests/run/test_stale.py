"""Results of code, packages or images that have changed since."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark_core.provenance import digest_of, own_directory, provenance
from dlbs.run.stale import Current, Version, package_words, packages_in
from tests.conftest import RunDlbs
from tests.experiments import logs, values
from tests.waiting import wait_until

COMMAND = ("-Pcommand.min_seconds=0", "-Pexp.num_batches=1", "--", sys.executable, "bench.py")


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "bench.py").write_text("import module\n")
    (tmp_path / "module.py").write_text("")
    (tmp_path / "README").write_text("")
    (tmp_path / ".gitignore").write_text("__pycache__\nlogs\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


@pytest.mark.integration
def test_results_of_other_code_are_reported_and_can_be_repeated(dlbs: RunDlbs, repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")[:7]
    dlbs("run", "-Vn=[1,2]", *COMMAND, "{n}", check=True)
    (repository / "README").write_text("nothing that ran")
    assert "2 already finished\n" in dlbs("run", "-Vn=[1,2]", *COMMAND, "{n}", check=True).stderr
    (repository / "module.py").write_text("# changed\n")
    told = dlbs("run", "-Vn=[1,2,3]", *COMMAND, "{n}", check=True).stderr
    assert f"1 ok, 2 already finished, 2 of them with other code: module.py changed ({first} → dirty)" in told
    assert "exp.rerun=changed" in told
    again = json.loads(dlbs("run", "--json", "-Vn=[1,2,3]", "-Pexp.rerun=changed", *COMMAND, "{n}", check=True).stdout)
    assert (again["outcomes"], again["already_finished"], again["changed"]) == ({"ok": 2}, 1, {})
    git(repository, "commit", "-q", "-a", "-m", "second")
    assert "3 already finished\n" in dlbs("run", "-Vn=[1,2,3]", *COMMAND, "{n}", check=True).stderr  # the same code
    git(repository, "checkout", "-q", first)
    assert f"(dirty → {first})" in dlbs("run", "-Vn=[1,2,3]", *COMMAND, "{n}", check=True).stderr


@pytest.mark.integration
def test_without_git_files_are_compared(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text("")
    dlbs("run", *COMMAND, check=True)
    (tmp_path / "bench.py").write_text("# changed\n")
    assert "1 of them with other code: bench.py changed\n" in dlbs("run", *COMMAND, check=True).stderr


@pytest.mark.integration
def test_without_local_files_the_repository_decides(dlbs: RunDlbs, repository: Path) -> None:
    command = (*COMMAND[:3], "true")
    dlbs("run", *command, check=True)
    (repository / "module.py").write_text("# changed\n")
    assert "the repository changed (" in dlbs("run", *command, check=True).stderr


@pytest.mark.integration
def test_results_of_other_packages_are_reported(dlbs: RunDlbs, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    (site,) = tmp_path.glob("env/lib/python3*/site-packages")
    for name in ("torch-2.12.0", "left_out-1", "same-1"):
        (site / f"{name}.dist-info").mkdir()
    (tmp_path / "bench.py").write_text("")
    command = (*COMMAND[:3], "env/bin/python", "bench.py")
    dlbs("run", *command, check=True)
    (site / "torch-2.12.0.dist-info").rename(site / "torch-2.13.0.dist-info")
    (site / "left_out-1.dist-info").rmdir()
    told = dlbs("run", *command, check=True).stderr
    assert "with other code or software: torch 2.12.0 → 2.13.0, 1 other package" in told
    for path in (tmp_path / "logs" / "provenance").iterdir():
        path.write_text("exchanged")
    assert "with other code or software: other packages" in dlbs("run", *command, check=True).stderr


@pytest.mark.integration
def test_what_shows_a_change_is_among_the_last_lines(dlbs: RunDlbs, repository: Path) -> None:
    (repository / "bench.py").write_text("import module\nprint('x' * 100_000)\n")
    dlbs("run", *COMMAND, check=True)
    (log,) = logs(repository)
    ending = log.read_text()[-8192:]
    for key in ("exp.code.commit", "exp.code.diff", "exp.code.files", "exp.software.packages"):
        assert f"\n__{key}__=" in ending
    found = values(log)
    assert (repository / "logs" / "provenance" / f"{found['exp.code.diff']}.diff").is_file()
    assert len(log.read_text().splitlines()) < 200


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (Version("a" * 40), Version("a" * 40), ""),
        (Version("a" * 40), Version("a" * 40, "1"), "aaaaaaa → dirty"),
        (Version("a" * 40, "1"), Version("a" * 40), "dirty → aaaaaaa"),
        (Version("a" * 40, "1"), Version("a" * 40, "2"), "aaaaaaa-dirty, changed again"),
        (Version("a" * 40, "1"), Version("b" * 40), "aaaaaaa-dirty → bbbbbbb"),
        (Version("a" * 40, None), Version("a" * 40), ""),
        (Version(None), Version("a" * 40), ""),
    ],
)
def test_words_for_versions(before: Version, after: Version, words: str) -> None:
    assert before.change(after) == words


def test_words_for_packages() -> None:
    before = packages_in(
        ["# Python 3.11.2", "numpy==2.0", "torch==2.12.0", "x @ git+https://h/x@1", "# editable: mine==1"]
    )
    after = packages_in(["# Python 3.11.2", "numpy==2.1", "torch==2.13.0", "x @ git+https://h/x@2"])
    assert package_words(before, after, ["torch"]) == "torch 2.12.0 → 2.13.0, 3 other packages"
    assert package_words(before, after) == "mine 1 → missing, 3 other packages"
    assert package_words(before, {**before, "python": "3.12.0"}) == "python 3.11.2 → 3.12.0"


@pytest.mark.integration
def test_a_script_elsewhere_is_compared_with_its_own_repository(
    dlbs: RunDlbs, repository: Path, tmp_path: Path
) -> None:
    """The working directory is in another repository than the script, whose changes do not matter."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "script.py").write_text("")
    git(elsewhere, "init", "-q")
    git(elsewhere, "add", "-A")
    git(elsewhere, "commit", "-q", "-m", "x")
    command = (*COMMAND[:4], str(elsewhere / "script.py"))
    dlbs("run", *command, check=True)
    (log,) = logs(repository)
    assert values(log)["exp.code.root"] == str(elsewhere)
    (repository / "module.py").write_text("# changed\n")
    assert "1 already finished\n" in dlbs("run", *command, check=True).stderr
    (elsewhere / "script.py").write_text("# changed\n")
    assert "script.py changed (" in dlbs("run", *command, check=True).stderr


@pytest.mark.integration
@pytest.mark.parametrize("script", ["bench", "build"])
def test_what_a_shell_script_starts_is_compared(dlbs: RunDlbs, repository: Path, script: str) -> None:
    """With an interpreter, the files that it names decide; without one, it may start anything, so the repository decides."""
    line = f"{sys.executable} bench.py" if script == "bench" else "true  # make"
    (repository / "run.sh").write_text(f"#!/bin/sh\n{line}\n")
    (repository / "run.sh").chmod(0o755)
    git(repository, "add", "run.sh")
    git(repository, "commit", "-q", "-m", "second")
    command = (*COMMAND[:3], "./run.sh")
    dlbs("run", *command, check=True)
    (repository / "README").write_text("changed")
    told = dlbs("run", *command, check=True).stderr
    assert ("the repository changed (" in told) is (script == "build")
    (repository / "module.py").write_text("# changed\n")
    told = dlbs("run", *command, check=True).stderr
    assert ("module.py changed (" if script == "bench" else "the repository changed (") in told


@pytest.mark.integration
def test_status_names_stale_results(dlbs: RunDlbs, repository: Path, tmp_path: Path) -> None:
    dlbs("run", "-Vn=[1,2,3,4]", *COMMAND, "{n}", check=True)
    assert "stale" not in dlbs("status", check=True).stdout
    (repository / "module.py").write_text("# changed\n")
    shown = dlbs("status", check=True).stdout
    assert "4 experiments: 4 ok; 4 stale (exp.rerun=changed runs them again)" in shown
    assert "stale        4 experiments: module.py changed (" in shown
    assert shown.count(".log") == 0
    assert dlbs("status", "-v", check=True).stdout.count(".log") == 4
    document = json.loads(dlbs("status", "--json", check=True).stdout)
    assert all("module.py changed" in one["change"] for one in document["experiments"])


@pytest.mark.integration
def test_a_budget_counts_experiments_that_run_again_because_they_changed(dlbs: RunDlbs, repository: Path) -> None:
    (repository / "bench.py").write_text("import module, time\ntime.sleep(0.3)\n")
    words = ("--until-known", "--by", "n", "-Vn=[1,2]", "-Pexp.rerun=changed", *COMMAND, "{n}")
    dlbs("run", "--max-repeats=1", *words)
    (repository / "module.py").write_text("# changed\n")
    told = dlbs("run", "--budget=0.0001s", *words).stderr
    assert "of the budget is left" in told or "is spent" in told
    assert "2 ok" not in told
    assert "2 ok" in dlbs("run", "--max-repeats=1", *words).stderr


def test_weights_and_data_sets_of_our_programs_are_compared(tmp_path: Path) -> None:
    """Files that any other command names may be its outputs."""
    (tmp_path / "w.pt").write_bytes(b"1")
    files = {"dlbs:benchmark_core": digest_of(own_directory("benchmark_core"))}
    ending = {
        "exp.code.directory": str(tmp_path),
        "exp.code.files": files,
        "exp.code.data": {"w.pt": digest_of(tmp_path / "w.pt")},
    }
    assert Current().change(ending, tmp_path / "x.log") == ""
    (tmp_path / "w.pt").write_bytes(b"2")
    assert Current().change(ending, tmp_path / "x.log") == "w.pt changed"
    assert Current().change({**ending, "exp.code.files": {}}, tmp_path / "x.log") == ""


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Makes the file system that is mounted at `tmp_path/mounted` hang."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (tmp_path / "real").mkdir()
    process = subprocess.Popen(["bindfs", "-f", tmp_path / "real", mounted])
    try:
        wait_until(mounted.is_mount)
        yield lambda: process.send_signal(signal.SIGSTOP)
    finally:
        process.kill()
        process.wait()
        subprocess.run(["umount", "-l", mounted], check=False, capture_output=True)


@pytest.mark.integration
@pytest.mark.needs("bindfs")
def test_a_file_system_that_hangs_delays_only_for_a_moment(
    tmp_path: Path, hanging: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mounted"
    (place / "bench.py").write_text("")
    facts = provenance(["python3", "bench.py"], place)
    assert Current().change(facts, tmp_path / "x.log") == ""
    hanging()
    monkeypatch.setenv("DLBS_GIT_SECONDS", "0.2")
    unknown = provenance(["python3", "bench.py"], place)
    assert unknown["exp.code.files"] is None
    assert "is a file system hanging?" in unknown["exp.code.unknown"]["all"]
    monkeypatch.setattr("dlbs.run.stale._SECONDS", 0.5)
    warnings = []
    monkeypatch.setattr("dlbs.run.stale.log", lambda level, message, *values: warnings.append(message % values))
    current = Current()
    assert current.change(facts, tmp_path / "x.log") == current.change(facts, tmp_path / "y.log") == ""
    assert len(warnings) == 1
    assert f"{place}: not read within 0.5 s; changes of code are unknown" in warnings[0]


@pytest.mark.integration
def test_a_log_chooses_neither_the_program_nor_the_node_that_is_asked(tmp_path: Path) -> None:
    """`dlbs status` reads logs of strangers."""
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/pwned'\necho sha256:other\n")
    program.chmod(0o755)
    image = {
        "exp.docker": True,
        "exp.docker_image": "x",
        "exp.docker_image_id": "sha256:one",
        "exp.code.directory": str(tmp_path),
    }
    asked: list[str] = []

    def ssh(node: str, seconds: float) -> list[str]:
        asked.append(node)
        return ["false"]

    for planned in (None, {"exp.docker_launcher": "docker", "exp.nodes": "mine"}):
        for ending in (image | {"exp.docker_launcher": str(program)}, {**image, "exp.nodes": "theirs"}):
            Current(ssh if planned else None).change(ending, tmp_path / "x.log", experiment=planned)
    assert not (tmp_path / "pwned").exists()
    assert set(asked) == {"mine"}
    own = {"exp.docker_launcher": str(program)}
    assert "image x changed (one → other)" in Current().change(image, tmp_path / "x.log", experiment=own)


@pytest.mark.integration
def test_a_program_that_is_not_asked_has_no_other_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker would answer for an image of its own."""
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho sha256:other\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    ending = {
        "exp.docker": True,
        "exp.docker_image": "x",
        "exp.docker_image_id": "sha256:one",
        "exp.code.directory": str(tmp_path),
    }
    assert "image x changed (one → other)" in Current().change(ending, tmp_path / "x.log")
    assert Current().change({**ending, "exp.docker_launcher": "/usr/bin/podman"}, tmp_path / "x.log") == ""


def test_programs_of_an_installed_copy_are_compared_where_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel has them below `dlbs/shipped`, and `benchmark_core` beside `dlbs`, too."""
    program = tmp_path / "python" / "pytorch_benchmarks"
    program.mkdir(parents=True)
    (program / "x.py").write_text("1\n")
    monkeypatch.setenv("DLBS_ROOT", str(tmp_path))
    ending = {
        "exp.code.files": {"dlbs:pytorch_benchmarks": digest_of(program)},
        "exp.code.directory": str(tmp_path),
        "exp.software.interpreter": "python",
    }
    assert Current().change(ending, tmp_path / "x.log") == ""
    (program / "x.py").write_text("2\n")
    assert Current().change(ending, tmp_path / "x.log") == "pytorch_benchmarks changed"
