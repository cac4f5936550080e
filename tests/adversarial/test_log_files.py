"""Log directories in which somebody put something first: links, devices, pipes, other people's files. Each case is a line."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlbs.core.errors import LaunchError
from dlbs.core.files import foreign_hands, read_from_cache, write_to_cache
from dlbs.executors.detached import Task, main, read_tasks, write_tasks
from dlbs.executors.logfiles import opened_script, write_script
from dlbs.launch.script import Launcher
from tests.conftest import RunDlbs, dlbs_environment
from tests.experiments import DUMMY, launcher, logs, values

OURS = "thesis.log"
PRECIOUS = "two years of work\n"


def link(path: Path) -> None:
    target = path.parent.parent / "target"
    target.write_text(PRECIOUS)
    path.symlink_to(target)


def dangling_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere")


def null(path: Path) -> None:
    path.symlink_to("/dev/null")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text(PRECIOUS)


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 100)


def unreadable_json(path: Path) -> None:
    path.write_text("[1, 2, 3]")


# What is there, under which name beside the log, and what the error says.
STRANGERS: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    (OURS, link, "symbolic link"),
    (OURS, dangling_link, "symbolic link"),
    (OURS, null, "symbolic link"),
    (OURS, pipe, "not a regular file"),
    (OURS, directory, "not a regular file"),
    (OURS, text, "not a log written by dlbs"),
    (OURS, binary, "not a log written by dlbs"),
    (OURS, unreadable_json, "not a log written by dlbs"),
    (f"{OURS}.part", link, "symbolic link"),
    (f"{OURS}.part", dangling_link, "symbolic link"),
    (f"{OURS}.part", pipe, "not a regular file"),
    (f"{OURS}.part", directory, "not a regular file"),
    (f"{OURS}.sh", link, "symbolic link"),
    (f"{OURS}.sh", dangling_link, "symbolic link"),
    (f"{OURS}.sh", pipe, "not a regular file"),
    (f"{OURS}.sh", directory, "not a regular file"),
    (f"{OURS}.sh", text, "not a launcher written by dlbs"),
    (".dlbs.plan", link, "not a regular file"),
    (".dlbs.plan", dangling_link, "not a regular file"),
    (".dlbs.plan", pipe, "not a regular file"),
    (".dlbs.plan", directory, "cannot be written"),
    (".dlbs.lock", link, "symbolic link"),
    (".dlbs.lock", dangling_link, "symbolic link"),
    (".dlbs.lock", pipe, "not a regular file"),
    (".dlbs.lock", directory, "cannot write logs"),
    (".dlbs.lock", text, "not a lock file of dlbs"),
    (".dlbs.lock", binary, "not a lock file of dlbs"),
    (".dlbs.lock", unreadable_json, "not a lock file of dlbs"),
)


def snapshot(directory: Path) -> dict[str, tuple[int, bytes | str]]:
    """Every file, with its kind and what is in it."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in directory.rglob("*"):
        mode = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(mode) else b""
        found[str(path)] = (stat.S_IFMT(mode), content)
    return found


@pytest.mark.parametrize("flags", [(), ("--no-validation",)], ids=["validated", "not validated"])
@pytest.mark.parametrize(
    ("name", "put", "message"), STRANGERS, ids=[f"{name} is {put.__name__}" for name, put, _ in STRANGERS]
)
def test_what_is_not_ours_is_left_alone_and_named(
    dlbs: RunDlbs, tmp_path: Path, name: str, put: Callable[[Path], None], message: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / "logs").mkdir()
    put(tmp_path / "logs" / name)
    before = snapshot(tmp_path)
    done = dlbs("run", *DUMMY, f"-Pexp.log_file=logs/{OURS}", *flags)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in {1, 2}
    after = snapshot(tmp_path)
    assert {path: after.get(path) for path in before} == before
    assert not (tmp_path / "elsewhere").exists()
    if done.returncode == 2:
        assert after == before


def test_a_file_of_the_user_is_found_before_anything_runs(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text(PRECIOUS)
    for verb in ("validate", "run"):
        done = dlbs(verb, *DUMMY, "-Pexp.log_file=thesis.txt")
        assert done.returncode == 2
        assert "thesis.txt: is not a log written by dlbs, so it is not replaced" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == PRECIOUS


def test_only_the_experiment_whose_log_is_not_ours_fails(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1.log").write_text(PRECIOUS)
    done = dlbs("run", *DUMMY, "-Vexp.seed=[1,2]", "-Pexp.log_file=logs/${exp.seed}.log", "--no-validation")
    assert done.returncode == 1
    assert "1 ok" in done.stderr
    assert "1 failure" in done.stderr
    assert (tmp_path / "logs" / "1.log").read_text() == PRECIOUS
    assert not (tmp_path / "logs" / "1.log.sh").exists()


@pytest.mark.parametrize("put", [link, dangling_link, pipe, directory, text, binary], ids=lambda put: put.__name__)
def test_the_log_of_an_attempt_replaces_only_logs(dlbs: RunDlbs, tmp_path: Path, put: Callable[[Path], None]) -> None:
    (tmp_path / "logs").mkdir()
    put(tmp_path / "logs" / f"{OURS}.attempt1")
    before = snapshot(tmp_path)
    done = dlbs("run", *DUMMY, "-Pdummy.exit_code=1", f"-Pexp.log_file=logs/{OURS}", "--retries", "1")
    assert done.returncode == 1
    assert "not retried" in done.stderr
    after = snapshot(tmp_path)
    assert {path: after.get(path) for path in before} == before
    assert values(tmp_path / "logs" / OURS)["exp.status"] == "failure"


def test_the_log_of_an_attempt_replaces_the_one_of_an_earlier_run(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = ("-Pdummy.exit_code=1", f"-Pexp.log_file=logs/{OURS}", "--retries", "1", "-Pexp.rerun=onfail")
    for _ in range(2):
        assert dlbs("run", *DUMMY, *flags).returncode == 1
    assert values(tmp_path / "logs" / f"{OURS}.attempt1")["exp.status"] == "failure"


def test_a_link_to_a_directory_of_logs_is_the_users_own(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").symlink_to("elsewhere")
    dlbs("run", *DUMMY, check=True)
    assert len(logs(tmp_path)) == 1
    assert (tmp_path / "logs").is_symlink()
    assert dlbs("status", "logs").returncode == 0


@pytest.mark.parametrize("target", ["logs", "missing/logs", "/dev/null"])
def test_a_link_that_leads_to_no_directory_is_an_error(dlbs: RunDlbs, tmp_path: Path, target: str) -> None:
    (tmp_path / "logs").symlink_to(target)
    done = dlbs("run", *DUMMY)
    assert done.returncode == 2
    assert "cannot write logs" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_a_file_that_appears_while_the_experiment_runs_is_not_replaced(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, f"printf %s {PRECIOUS.split()[0]} > logs/{OURS}")
    done = dlbs("run", *DUMMY, flag, f"-Pexp.log_file=logs/{OURS}")
    assert done.returncode == 1
    assert "not a log written by dlbs" in done.stderr
    assert (tmp_path / "logs" / OURS).read_text() == PRECIOUS.split()[0]


# What may be replaced: the first bytes of a log, whatever follows.
LOGS_OF_OURS = {
    "empty": "",
    "parameters": '__exp.model__= "alexnet"\nmore\n',
    "cut in its first line": '__exp.model__= "ale',
    "only an ending": 'output of a template without parameters\n__exp.status__= "failure"\n',
}


@pytest.mark.parametrize("content", LOGS_OF_OURS.values(), ids=LOGS_OF_OURS)
def test_a_log_of_ours_is_replaced(dlbs: RunDlbs, tmp_path: Path, content: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / OURS).write_text(content)
    done = dlbs("run", *DUMMY, f"-Pexp.log_file=logs/{OURS}", "-Pexp.rerun=always")
    assert done.returncode == 0, done.stderr
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "ok"


def test_a_pipe_of_a_stranger_beside_the_logs_stops_no_run(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs" / "other.log.part")
    assert dlbs("run", *DUMMY).returncode == 0
    assert len(logs(tmp_path)) == 1


# Ways in which nothing is run, each with exit code 2.
REFUSED = {
    "a problem in the plan": ("-Pexp.framework=nothing",),
    "a progress file that cannot be written": ("--progress-file", "missing/p.json"),
    "the second directory is a file": ("-Vexp.log_dir=[a/b,file/c]",),
}


@pytest.mark.parametrize("flags", REFUSED.values(), ids=REFUSED)
def test_a_run_that_runs_nothing_leaves_nothing(dlbs: RunDlbs, tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("")
    assert dlbs("run", *DUMMY, *flags).returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_that_runs_nothing_leaves_what_an_earlier_one_left(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, check=True)
    before = {path.name for path in (tmp_path / "logs").iterdir()}
    assert dlbs("run", *DUMMY, "--progress-file", "missing/p.json").returncode == 2
    assert {path.name for path in (tmp_path / "logs").iterdir()} == before


def test_status_names_a_log_that_is_a_pipe_and_shows_the_others(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, check=True)
    os.mkfifo(tmp_path / "logs" / "other.log")
    done = dlbs("status", "logs")
    assert done.returncode == 1  # as for every plan that is not done
    assert "1 ok, 1 interrupted" in done.stdout
    assert "is not a regular file" in done.stdout


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unusable_task(path: Path) -> None:
    path.write_text('{"log": "1.log", "replaces": Infinity, "experiment": {}}\n')


@pytest.mark.parametrize(
    "put", [link, dangling_link, zero, pipe, directory, text, binary, unusable_task], ids=lambda put: put.__name__
)
@pytest.mark.parametrize("verb", ["status", "run"])
def test_a_strangers_list_of_jobs_is_ignored(
    dlbs: RunDlbs, tmp_path: Path, put: Callable[[Path], None], verb: str
) -> None:
    dlbs("run", *DUMMY, check=True)
    (tmp_path / "logs" / ".dlbs.lock").write_text('{"executor": "slurm"}')
    put(tmp_path / "logs" / ".dlbs-slurm-a.jsonl")
    before = snapshot(tmp_path)
    done = dlbs(*(("status", "logs") if verb == "status" else ("run", *DUMMY)))
    assert done.returncode == 0, done.stderr
    assert "1 ok" in done.stdout or "1 already finished" in done.stderr
    after = snapshot(tmp_path)
    assert {path: content for path, content in after.items() if "slurm" in path or "target" in path} == {
        path: content for path, content in before.items() if "slurm" in path or "target" in path
    }


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (link, "is a symbolic link"),
        (zero, "is a symbolic link"),
        (pipe, "is not a regular file"),
        (directory, "is not a regular file"),
        (text, "is not a list of experiments"),
        (binary, "cannot be read"),
        (unusable_task, "is not a list of experiments"),
    ],
)
def test_a_list_of_experiments_that_is_not_ours_is_one_error(
    tmp_path: Path, put: Callable[[Path], None], message: str
) -> None:
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs" / "tasks.jsonl"
    put(file)
    with pytest.raises(LaunchError, match=message):
        read_tasks(file)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755], ids=oct)
def test_launchers_where_others_may_exchange_files_are_started_by_descriptor(
    dlbs: RunDlbs, tmp_path: Path, mode: int
) -> None:
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(mode)
    done = dlbs("run", *DUMMY, launcher(tmp_path, 'echo "started as $0"'), "-Pexp.log_file=shared/a.log", check=True)
    is_shared = mode == 0o777
    assert ("who may change logs" in done.stderr) == is_shared
    assert ("started as /dev/fd/" in (place / "a.log").read_text()) == is_shared


def test_a_script_that_was_changed_is_not_opened(tmp_path: Path) -> None:
    def written(source: str = "echo 1") -> Launcher:
        made = Launcher({}, tmp_path / "a.log", tmp_path / "a.log.sh", source)
        write_script(made)
        return made

    os.close(opened_script(written()))
    for change in (
        lambda path: path.write_text("echo 2"),
        lambda path: path.chmod(0o666),
        lambda path: (path.unlink(), path.write_text("echo 1\n")),
        lambda path: os.truncate(path, 3),
    ):
        made = written()
        change(made.script)
        with pytest.raises(LaunchError, match="another user has changed the launcher"):
            opened_script(made)
        made.script.unlink()
    if os.geteuid() == 0:
        made = written()
        os.chown(made.script, 1, 1)
        with pytest.raises(LaunchError, match="another user has changed"):
            opened_script(made)


def test_a_task_file_that_was_changed_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tasks.jsonl"
    digest = write_tasks(file, [Task({"exp.log_file": "a.log"}, tmp_path / "a.log", 0)])
    file.write_text(file.read_text().replace("a.log", "b.log"))
    assert main(f"--sha256={digest}", str(file), "0") != 0
    assert "was changed since it was submitted" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.log"))


@pytest.mark.parametrize(
    ("mode", "owner", "reason"),
    [(0o777, 0, "can be written"), (0o1777, 0, ""), (0o775, 0, ""), (0o755, 0, ""), (0o755, 1, "another user")],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_directories_in_which_others_may_exchange_files(tmp_path: Path, mode: int, owner: int, reason: str) -> None:
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    outer.chmod(mode)
    os.chown(outer, owner, -1)
    for place in (outer, outer / "inner", outer / "missing"):
        foreign_hands.cache_clear()
        assert reason in foreign_hands(place)
        assert bool(foreign_hands(place)) == bool(reason)


def test_a_cached_file_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    write_to_cache(tmp_path / "x", b"data", most=3)
    assert read_from_cache(tmp_path / "x", 10) == b"data"
    (tmp_path / "x").chmod(0o666)
    assert read_from_cache(tmp_path / "x", 10) is None


@pytest.mark.parametrize("torn", [b"", b"\0" * 5000, b"\0"], ids=["empty", "NULs", "one NUL"])
@pytest.mark.parametrize("suffix", ["", ".sh", ".part"])
def test_a_file_as_a_power_cut_leaves_it_is_replaced(dlbs: RunDlbs, tmp_path: Path, suffix: str, torn: bytes) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / f"logs/1.log{suffix}").write_bytes(torn)
    done = dlbs("run", *DUMMY, "-Vexp.seed=[1,2]", "-Pexp.log_file=logs/${exp.seed}.log")
    assert done.returncode == 0, done.stderr
    assert [values(log)["exp.status"] for log in logs(tmp_path)] == ["ok", "ok"]


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_file_that_the_user_names_is_synced_before_it_replaces_another(tmp_path: Path) -> None:
    words = ["strace", "-f", "-e", "trace=fsync,rename,renameat,renameat2", "-o", "trace", sys.executable, "-m", "dlbs"]
    subprocess.run([*words, "build", *DUMMY, "-o", "plan.json"], cwd=tmp_path, env=dlbs_environment(), check=True)
    calls = [line.split("(")[0].split()[-1] for line in (tmp_path / "trace").read_text().splitlines() if "(" in line]
    assert calls[-3:] == ["fsync", "rename", "fsync"]
