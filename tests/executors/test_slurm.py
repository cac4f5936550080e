"""What the Slurm executor makes of the answers of Slurm's programs, which are scripts here; tests/integration/test_slurm.py asks a real one."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from dlbs.core.errors import LaunchError
from dlbs.core.experiment import Experiment, Site
from dlbs.executors.detached import read_tasks
from dlbs.executors.slurm import SlurmExecutor, gpus_of, options_of

pytestmark = pytest.mark.integration

# `queue` has what squeue prints. sbatch does what `sbatch` says, if it is there.
PROGRAMS = {
    "squeue": 'echo >> asked; test ! -e down && test -z "$SQUEUE_STATES" && cat queue',
    "sbatch": 'cat > script; echo "$*" >> submitted; test ! -e sbatch.sh || . ./sbatch.sh',
    "scancel": "",
    "scontrol": "exit 1",
}


class Cluster:
    """Programs that stand for Slurm, and the directory where experiments run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.executor = SlurmExecutor(directory)
        (directory / "logs").mkdir()
        self.set_queue()

    def set_queue(self, *lines: str) -> None:
        (self.directory / "queue").write_text("".join(f"{line}\n" for line in lines))

    def experiment(self, seed: int) -> Experiment:
        return {"exp.log_file": f"logs/{seed}.log", "exp.seed": seed}

    def log(self, seed: int) -> Path:
        return self.directory / "logs" / f"{seed}.log"

    def earlier_run(self, *seeds: int) -> str:
        """The name of the array that an earlier run has submitted, with all its tasks in the queue."""
        token = "0123456789ab"
        entries = [
            json.dumps({"log": str(self.log(seed)), "replaces": 0, "experiment": self.experiment(seed)})
            for seed in seeds
        ]
        (self.directory / "logs" / f".dlbs-slurm-{token}.jsonl").write_text("\n".join(entries))
        self.set_queue(*(f"dlbs-{token}|7|{number}|R" for number in range(len(seeds))))
        return f"dlbs-{token}"

    def ends(self, seed: int, status: str = "failure") -> None:
        self.log(seed).write_text(f'__exp.seed__= {seed}\n__exp.status__= "{status}"\n')

    def submitted(self) -> list[str]:
        path = self.directory / "submitted"
        return path.read_text().splitlines() if path.exists() else []

    def look(self) -> dict[int, str]:
        self.executor._next_question = 0.0  # now
        return {experiment["exp.seed"]: outcome.status for experiment, outcome in self.executor.look()}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    for name, source in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{source}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cluster = Cluster(tmp_path)
    cluster.executor.prepare()
    return cluster


@pytest.fixture
def always_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is given twice."""
    monkeypatch.setattr(SlurmExecutor, "poll_seconds", (0.0, 30.0))


@pytest.mark.usefixtures("always_asks")
def test_a_retry_of_an_experiment_of_an_earlier_run_is_submitted(slurm: Cluster) -> None:
    slurm.earlier_run(1, 2)
    logs_directory = slurm.directory / "logs"
    assert slurm.executor.owned_logs(logs_directory) == {slurm.log(1), slurm.log(2)}
    assert slurm.executor.start(slurm.experiment(1))
    assert slurm.executor.owned_logs(logs_directory) == {slurm.log(1), slurm.log(2)}  # before the second is started
    assert slurm.executor.start(slurm.experiment(2))
    slurm.set_queue()
    slurm.ends(1)
    slurm.ends(2)
    assert slurm.look() == {1: "failure", 2: "failure"}
    assert not list(logs_directory.glob(".dlbs-slurm-*"))
    assert slurm.executor.start({**slurm.experiment(1), "exp.attempt": 2})
    slurm.executor.flush()
    assert len(slurm.submitted()) == 1
    (file,) = logs_directory.glob(".dlbs-slurm-*")
    assert [task.experiment["exp.attempt"] for task in read_tasks(file)] == [2]


@pytest.mark.parametrize("is_down", [False, True])
def test_many_questions_are_one_look_at_the_queue(slurm: Cluster, is_down: bool) -> None:
    """It may take a minute to find out that Slurm does not respond."""
    slurm.earlier_run(*range(20))
    if is_down:
        (slurm.directory / "down").touch()
    before = (slurm.directory / "asked").stat().st_size
    for _ in range(20):
        with pytest.raises(LaunchError, match="does not respond") if is_down else nullcontext():
            slurm.executor.owned_logs(slurm.directory / "logs")
    assert (slurm.directory / "asked").stat().st_size - before < 10


@pytest.mark.usefixtures("always_asks")
def test_the_file_of_an_array_that_waits_for_slurm_stays(slurm: Cluster) -> None:
    slurm.earlier_run(1)
    slurm.executor.owned_logs(slurm.directory / "logs")
    (slurm.directory / "sbatch.sh").write_text("touch down; exit 1")
    assert slurm.executor.start(slurm.experiment(2))
    slurm.executor.flush()  # the controller goes away
    (slurm.directory / "down").unlink()
    assert slurm.executor.owned_logs(slurm.directory / "logs") == {slurm.log(1)}
    slurm.executor.flush()
    assert len(list((slurm.directory / "logs").glob(".dlbs-slurm-*"))) == 2
    (slurm.directory / "sbatch.sh").write_text("")
    assert slurm.look() == {}
    assert len(slurm.submitted()) == 2


@pytest.mark.parametrize("away", ["", "touch down;"])
def test_what_slurm_accepted_and_ran_before_it_was_seen_is_not_submitted_again(slurm: Cluster, away: str) -> None:
    """Only the response of sbatch is lost, with a queue that can be looked at directly afterwards, or later."""
    log = slurm.log(1)
    source = f"""{away} printf '__exp.seed__= 1\\n__exp.status__= "ok"\\n' > {log}; exit 1"""
    (slurm.directory / "sbatch.sh").write_text(source)
    assert slurm.executor.start(slurm.experiment(1))
    slurm.executor.flush()
    (slurm.directory / "down").unlink(missing_ok=True)
    assert slurm.look() == {1: "ok"}
    assert len(slurm.submitted()) == 1


def test_tasks_that_the_file_does_not_have_are_ignored(slurm: Cluster) -> None:
    name = slurm.earlier_run(1)
    slurm.set_queue(f"{name}|7|0|R", f"{name}|7|1|R", f"{name}|7|999|PD")
    assert slurm.executor.owned_logs(slurm.directory / "logs") == {slurm.log(1)}


def test_defaults_of_the_user_hide_no_jobs(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm.earlier_run(1)
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    assert slurm.executor.owned_logs(slurm.directory / "logs") == {slurm.log(1)}


def test_percent_signs_in_a_path_are_not_replaced_by_sbatch(slurm: Cluster) -> None:
    (slurm.directory / "50%j").mkdir()
    assert slurm.executor.start({"exp.log_file": "50%j/1.log"})
    slurm.executor.flush()
    assert "/50%%j/.dlbs-slurm-" in slurm.submitted()[0]


def test_bytes_that_are_not_utf_8_reach_the_job(slurm: Cluster) -> None:
    directory = slurm.directory / os.fsdecode(b"l\xff")
    directory.mkdir()
    one = {"exp.log_file": str(directory / "1.log"), "runtime.env.NAME": os.fsdecode(b"a\xffb")}
    assert slurm.executor.start(one)
    slurm.executor.flush()
    (file,) = directory.glob(".dlbs-slurm-*")
    assert os.fsencode(file) in (slurm.directory / "script").read_bytes()
    (task,) = read_tasks(file)
    assert (task.experiment, task.log) == (one, directory / "1.log")


def test_a_moment_without_slurm_changes_nothing(slurm: Cluster) -> None:
    slurm.earlier_run(1)
    slurm.executor.owned_logs(slurm.directory / "logs")
    assert slurm.executor.start(slurm.experiment(1))
    (slurm.directory / "down").touch()
    assert slurm.look() == {}
    assert slurm.executor.running == 1
    (slurm.directory / "down").unlink()
    slurm.set_queue()
    slurm.ends(1, "ok")
    assert slurm.look() == {1: "ok"}


@pytest.mark.parametrize(("memory", "option"), [("2G", "--mem=2048M"), ("512K", "--mem=1M"), ("1.5M", "--mem=2M")])
def test_memory_is_rounded_up(memory: str, option: str) -> None:
    """--mem=0 would be all the memory of a node."""
    assert options_of({"runtime.memory": memory}) == (option,)


@pytest.mark.parametrize("name", ["gres", "gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket"])
def test_gpus_are_requested_once(name: str) -> None:
    """Some clusters reject --gres."""
    (option,) = options_of({"exp.gpus": "any:2", f"slurm.{name}": "gpu:h100:2"})
    assert option == f"--{name.replace('_', '-')}=gpu:h100:2"
    assert options_of({"exp.gpus": "any:2", f"slurm.{name}": ""}) == ("--gres=gpu:2",)


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("gpu", 1),
        ("gpu:4", 4),
        ("gpu:a100", 1),
        ("gpu:a100:4", 4),
        ("gpu:a100:2,gpu:h100:1", 3),
        ("gpu:1g.10gb:2", 2),
        ("shard:4,gpu:h100:2(S:0)", 2),
        ("shard:4", None),
        ("", None),
    ],
)
def test_gpus_of_generic_resources(gres: str, count: int | None) -> None:
    assert gpus_of(gres) == count


@pytest.mark.parametrize(
    ("gpus", "gres", "said"),
    [
        ("any:4", "gpu:1", "exp.gpus requests 4 GPUs, but slurm.gres=gpu:1 only 1"),
        ("0:1", "gpu:h100", "exp.gpus requests 2 GPUs, but slurm.gres=gpu:h100 only 1"),
        ("any:4", "gpu:4", ""),
        ("any:1", "gpu:4", ""),
        ("any:4", "shard:1", ""),
        ("any:4", "", ""),
    ],
)
def test_a_job_with_too_few_gpus_is_a_problem_of_the_plan(gpus: str, gres: str, said: str) -> None:
    experiment = {"exp.gpus": gpus, "slurm.gres": gres}
    problems = [check.find(experiment, Site(Path())) for check in SlurmExecutor.checks]
    assert [problem.what for problem in problems if problem is not None] == ([said] if said else [])
