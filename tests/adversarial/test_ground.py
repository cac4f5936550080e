"""Faults of the machine, its services and its directories: no outcome of an experiment, one message, and the same command runs the rest."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmark_core.exits import UNAVAILABLE
from tests.conftest import RunDlbs, dlbs_environment, start_dlbs
from tests.experiments import DUMMY, launcher, logs, start, values
from tests.forked import ForkServer
from tests.services import BASE_IMAGE
from tests.waiting import PATIENCE, has_ended, wait_until

SEEDS = "-Vexp.seed=[1,2,3]"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")

# What the second of three experiments does to the ground under it → words of the reason.
FAULTS = {
    "the log directory is removed": ("rm -r logs", "the log directory has vanished"),
    "the log directory is moved": ("mv logs moved", "moved now, with the finished logs: move it back"),
    "the log directory is replaced": ("mv logs moved; mkdir logs", "no longer the log directory of this run"),
    "the log directory becomes a file": ("mv logs moved; touch logs", "no longer the log directory of this run"),
    "a server is not available": ("exit 69", "something it needs is not available"),
    "a server is not available, with a reason": (
        """echo '__exp.status_msg__= "no server"'; exit 69""",
        "stopped: no server",
    ),
    "the launcher is removed": ("rm own.sh", "no launcher"),
    "the interpreter is removed": ("rm python; ./python", "does not exist, or is not executable"),
    "the interpreter may not be executed": ("chmod -x python; ./python", "does not exist, or is not executable"),
    "the directory of the pack is removed": ("rmdir pack; false", "pack does not exist any more"),
}


@pytest.mark.parametrize(("act", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_fault_stops_the_plan_and_the_same_command_runs_the_rest(
    dlbs: RunDlbs, tmp_path: Path, act: str, reason: str
) -> None:
    def lay() -> str:
        shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "python")
        (tmp_path / "pack").mkdir(exist_ok=True)
        return launcher(tmp_path, f"test {{{{ exp.seed }}}} != 2 || test -e mended || {{ {act}; }}")

    flag = lay()
    plan = (*DUMMY, flag, SEEDS, f"-Pruntime.python={tmp_path}/python", f"-Ppack.dir={tmp_path}/pack")
    done = dlbs("run", *plan, "--no-validation")
    assert done.returncode == UNAVAILABLE
    assert reason in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("stopped: ") == 1
    ended = {1, 2} if "own.sh" in act else {1}
    assert f"3 experiments: {len(ended)} ok, {3 - len(ended)} left" in done.stderr
    if (tmp_path / "moved").exists():
        (tmp_path / "logs").rmdir() if (tmp_path / "logs").is_dir() else (tmp_path / "logs").unlink(missing_ok=True)
        (tmp_path / "moved").rename(tmp_path / "logs")
    finished = {values(log)["exp.seed"] for log in logs(tmp_path) if values(log)["exp.status"] == "ok"}
    assert finished == (ended if (tmp_path / "logs").exists() and "rm -r" not in act else set())
    assert {values(log)["exp.status"] for log in logs(tmp_path)} <= {"ok", "cancelled"}
    lay()
    (tmp_path / "mended").touch()
    done = dlbs("run", *plan, "--no-validation")
    assert done.returncode == 0, done.stderr
    assert [values(log)["exp.status"] for log in logs(tmp_path)] == ["ok"] * 3
    if finished:
        assert f"{3 - len(finished)} ok, {len(finished)} already finished" in done.stderr


@pytest.mark.parametrize("act", ["rm -r $PWD", "mv $PWD $PWD.moved"])
def test_a_working_directory_that_vanishes(tmp_path: Path, act: str) -> None:
    for name in ("work", "logs"):
        (tmp_path / name).mkdir()
    flag = launcher(tmp_path, f"cd $PWD && test {{{{ exp.seed }}}} != 2 || {{ {act}; false; }}")
    plan = ("run", *DUMMY, flag, SEEDS, f"-Pexp.log_dir={tmp_path}/logs")
    process = start_dlbs(tmp_path / "work", *plan)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == UNAVAILABLE, told
    assert "the working directory has vanished" in told
    assert "1 ok, 2 left" in told


def test_retries_cover_a_fault(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "test -e here || { touch here; exit 69; }")
    done = dlbs("run", *DUMMY, flag, SEEDS, "--retries", "1")
    assert done.returncode == 0, done.stderr
    assert "3 experiments: 3 ok" in done.stderr
    assert "retrying" in done.stderr


def test_a_fault_ends_rounds_without_a_verdict(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(
        tmp_path, "test -e mended || test ! -e logs/*.log || exit 69; echo __results.time__= 1{{ exp.seed }}.0"
    )
    plan = (
        *DUMMY,
        flag,
        "-Vexp.seed=[1,2]",
        "--until-known",
        "--by",
        "exp.seed",
        "--trust-doubtful",
        "--max-repeats",
        "5",
    )
    done = dlbs("run", *plan)
    assert done.returncode == UNAVAILABLE, done.stderr
    assert "stopped: the benchmark reports that something it needs is not available" in done.stderr
    (tmp_path / "mended").touch()
    done = dlbs("run", *plan)
    assert done.returncode in {0, 4}, done.stderr
    assert len(logs(tmp_path)) == 10
    assert {values(log)["exp.status"] for log in logs(tmp_path)} == {"ok"}


def test_packs_and_logs_that_others_may_write_are_warned_about(dlbs: RunDlbs, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    plan = (*DUMMY, f"-Ppack.dir={pack}", "--no-validation", "-Pexp.rerun=always")
    assert "who may change" not in dlbs("run", *plan, check=True).stderr
    for name, what in (("pack", "the code that runs"), ("logs", "logs; choose an exp.log_dir")):
        (tmp_path / name).chmod(0o777)
        done = dlbs("run", *plan, check=True)
        assert (
            f"{tmp_path / name}: {tmp_path / name} can be written by other users, who may change {what}" in done.stderr
        )
        (tmp_path / name).chmod(0o755)


def test_a_fault_in_a_repeat_keeps_the_earlier_log(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "test ! -e broken || exit 69")
    dlbs("run", *DUMMY, flag, check=True)
    before = logs(tmp_path)[0].read_bytes()
    (tmp_path / "broken").touch()
    done = dlbs("run", *DUMMY, flag, "-Pexp.rerun=always")
    assert done.returncode == UNAVAILABLE
    assert logs(tmp_path)[0].read_bytes() == before
    assert not list(tmp_path.glob("logs/*.part"))


def test_an_interrupted_repeat_keeps_the_earlier_log(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "test ! -e slow || { touch begun; sleep 1000; }")
    dlbs("run", *DUMMY, flag, check=True)
    before = logs(tmp_path)[0].read_bytes()
    (tmp_path / "slow").touch()
    process = start(tmp_path, flag, "-Pexp.rerun=always")
    wait_until((tmp_path / "begun").exists)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGINT, told
    assert "1 cancelled" in told
    assert logs(tmp_path)[0].read_bytes() == before
    assert not list(tmp_path.glob("logs/*.part"))


def test_a_limit_of_the_size_of_files_is_no_failure(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dlbs", "run", *DUMMY]
    command = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *words]
    done = subprocess.run(command, cwd=tmp_path, env=dlbs_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == UNAVAILABLE, done.stderr
    assert "File too large" in done.stderr


def test_a_server_that_leaves_its_process_group_ends_with_its_experiment(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "setsid sleep 1000 > /dev/null 2>&1 & echo $! > server")
    dlbs("run", *DUMMY, flag, "-Pserving.command=any", check=True)
    assert has_ended(int((tmp_path / "server").read_text()))


def test_a_failure_that_others_do_not_share_stops_nothing(dlbs: RunDlbs, tmp_path: Path) -> None:
    for body in ("exit 125", "exit 126", "exit 127", "exit 75", "exit 1", "kill -9 $$", "nosuchprogram"):
        shutil.rmtree(tmp_path / "logs", ignore_errors=True)
        done = dlbs("run", *DUMMY, launcher(tmp_path, f"test {{{{ exp.seed }}}} != 1 || {{ {body}; }}"), SEEDS)
        assert "3 experiments: 2 ok, 1 failure" in done.stderr, body


# The state of a small file system of logs, and what the second experiment does to it.
DISKS = {
    "full": "head -c 100000 /dev/zero >logs/big; true",
    "mounted over, read only": "mount -t tmpfs -o ro none {logs}; true",
    "unmounted": "umount -l {logs}; true",
    "mounted over": "mount -t tmpfs none {logs}; true",
}


@ROOT_ONLY
@pytest.mark.integration
@pytest.mark.parametrize("act", DISKS.values(), ids=DISKS)
def test_a_disk_that_fails(dlbs: RunDlbs, tmp_path: Path, act: str) -> None:
    place = tmp_path / "logs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], check=True)
    try:
        flag = launcher(tmp_path, f"test {{{{ exp.seed }}}} != 2 || {{ {act.format(logs=place)}; }}")
        done = dlbs("run", *DUMMY, flag, SEEDS)
    finally:
        while not subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False).returncode:
            continue
    assert done.returncode == UNAVAILABLE
    assert "Traceback" not in done.stderr
    assert done.stderr.count("stopped: ") == 1
    # The second one's outcome may still fit into the last block.
    assert re.search("3 experiments: (1 ok, 2|2 ok, 1) left", done.stderr), done.stderr


@pytest.fixture
def daemon() -> Iterator[Callable[[], tuple[str, subprocess.Popen[bytes]]]]:
    """Start a docker daemon of this test alone: it has the image, and no network."""
    place = Path(tempfile.mkdtemp(prefix="dlbs"))  # paths of sockets are at most 107 characters
    address = f"unix://{place}/socket"
    started: list[subprocess.Popen[bytes]] = []

    def end_the_rest() -> None:
        """What a killed daemon leaves: containerd, which it started, and the shims of containers."""
        for process in psutil.process_iter(["cmdline"]):
            if any(str(place) in word for word in process.info["cmdline"] or ()):
                with suppress(psutil.Error):
                    process.kill()

    def begin() -> tuple[str, subprocess.Popen[bytes]]:
        end_the_rest()
        (place / "pid").unlink(missing_ok=True)
        words = [
            f"--data-root={place}/data",
            f"--exec-root={place}/run{len(started)}",
            f"--pidfile={place}/pid",
            f"--host={address}",
        ]
        options = ["--bridge=none", "--iptables=false", "--ip-masq=false"]
        with (place / "log").open("ab") as log:
            # In a network namespace without interfaces: in this one, it would remove the bridge of the daemon that others use.
            command = ["unshare", "--net", "dockerd", *words, *options]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        started.append(process)
        docker = ["docker", "--host", address]

        def answers() -> bool:
            assert process.poll() is None, (place / "log").read_text(errors="replace")[-2000:]
            return not subprocess.run([*docker, "version"], capture_output=True, check=False).returncode

        wait_until(answers)
        if len(started) == 1:
            save = subprocess.Popen(["docker", "save", BASE_IMAGE], stdout=subprocess.PIPE)
            subprocess.run([*docker, "load"], stdin=save.stdout, check=True, capture_output=True)
            save.wait()
        return address, started[-1]

    yield begin
    for process in started:
        process.terminate()
        process.wait()
    end_the_rest()
    subprocess.run(["umount", "-l", *map(str, place.glob("run*/netns/*"))], capture_output=True, check=False)
    subprocess.run(["umount", "-l", str(place / "data")], capture_output=True, check=False)
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.integration
@pytest.mark.needs("base image")
@pytest.mark.skipif(os.geteuid() != 0, reason="a daemon takes root")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_docker_daemon_that_dies(
    daemon: Callable[[], tuple[str, subprocess.Popen[bytes]]], tmp_path: Path, number: signal.Signals
) -> None:
    address, process = daemon()
    flags = (
        *("-Pexp.docker=true", f"-Pexp.docker_image={BASE_IMAGE}", "-Pexp.num_warmup_batches=0", "-Pcommand.min_seconds=0"),
        *("-Pexp.network=false", "-Vexp.seed=[1,2,3,4]"),
    )  # fmt: skip
    words = [sys.executable, "-m", "dlbs", "run", *flags, "--", "sh", "-c", "test -e go || sleep 0.2"]
    environment = dlbs_environment(DOCKER_HOST=address)
    with (tmp_path / "errors").open("wb") as errors:
        run = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=errors)
    wait_until(lambda: bool(logs(tmp_path)))
    process.send_signal(number)
    process.wait()
    run.wait()
    said = (tmp_path / "errors").read_text()
    assert run.returncode == UNAVAILABLE, said
    assert "stopped: the docker daemon does not answer" in said
    kept = [log for log in logs(tmp_path) if values(log)["exp.status"] == "ok"]
    assert {values(log)["exp.status"] for log in logs(tmp_path)} <= {"ok", "cancelled"}
    daemon()
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"4 experiments: {4 - len(kept)} ok, {len(kept)} already finished" in done.stderr


# Files of dlbs by their patterns; tests/config/test_cached.py has the cache of the configuration.
OURS = {
    "log": "logs/a_1.log", "launcher": "logs/*.log.sh", "plan file": "logs/.dlbs.plan", "lock": "logs/.dlbs.lock", "partial log": "logs/*.part", "cached launcher": "cache/dlbs/launchers/*",
    "progress file": "progress.json", "results": "results.json", "report": "page.html"
}  # fmt: skip
# What a power cut leaves of a file that was not on the device: its size is there before its content is, blocks are missing at the end.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "NULs": lambda content: bytes(len(content)),
    "four NULs": lambda content: bytes(4),
    "cut": lambda content: content[: len(content) // 2],
    "cut, then NULs": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "NULs at the end": lambda content: content + bytes(4096),
}


@pytest.fixture(scope="module")
def use(forked_dlbs: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Run a plan, and use its logs; returns the directory."""
    place = tmp_path_factory.mktemp("use")
    flag = launcher(place, "yes | head -c 600000; echo __results.time__= 1{{ exp.seed }}.0")
    plan = (
        *DUMMY,
        flag,
        SEEDS,
        "-Pexp.rerun=onfail",
        "-Pexp.log_file=logs/a_${exp.seed}.log",
        "--progress-file",
        "progress.json",
    )
    environment = dlbs_environment(XDG_CACHE_HOME=str(place / "cache"))

    def commands() -> Path:
        for command in (
            ("run", *plan),
            ("run", *DUMMY, "-Pexp.log_dir=others", "-Pexp.rerun=always"),
            ("status", "logs"),
            ("parse", "logs", "-o", "results.json"),
            ("report", "logs", "-o", "page.html"),
            ("db", "add", "logs", "--db", "sqlite:///results.db"),
        ):
            done = forked_dlbs.run("-m", "dlbs", *command, directory=place, environment=environment, timeout=PATIENCE)
            assert done.returncode == 0, (command, done.stderr)
        found = json.loads((place / "results.json").read_text())["data"]
        assert sorted(one["results.time"] for one in found) == [11, 12, 13]
        assert (place / "page.html").read_text().endswith("</ul>\n")
        assert not list(place.glob("logs/*.part"))
        return place

    commands()
    return commands


@pytest.mark.parametrize("kind", OURS)
def test_files_as_a_power_cut_leaves_them_are_replaced(use: Callable[[], Path], kind: str) -> None:
    for damage in DAMAGES.values():
        place = use()
        if kind == "partial log":
            shutil.copy(place / "logs" / "a_1.log", place / "logs" / "a_1.log.part")
        found = list(place.glob(OURS[kind]))
        assert found
        for file in found:
            file.write_bytes(damage(file.read_bytes()))
    use()
