"""Plans on a real Slurm, beyond what tests/executors/test_behaviour.py asks of every executor."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dlbs.executors.slurm import options_of, time_limit
from tests.conftest import ROOT, RunDlbs, start_dlbs
from tests.experiments import launcher, logs, values
from tests.forked import Program
from tests.slurm_cluster import HOST, Cluster
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.needs("Slurm")]

DUMMY = ("-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=", "--executor", "slurm")


@pytest.fixture
def run(cluster: Cluster, dlbs: RunDlbs) -> RunDlbs:
    """`dlbs run --executor slurm` on the cluster."""

    def called(*arguments: str, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        return dlbs("run", *DUMMY, *arguments, check=check, **cluster.environment, **environment)

    return called


def start(cluster: Cluster, directory: Path, *arguments: str, **environment: str) -> Program | subprocess.Popen[str]:
    return start_dlbs(directory, "run", *DUMMY, *arguments, **cluster.environment, **environment)


def until_go(directory: Path) -> str:
    """A launcher, as a -P flag, of experiments that end once there is a file `go`; each writes its seed into `ran`."""
    path = directory / "own.sh"
    path.write_text(
        '{% extends "base.sh" %}{% block benchmark %}\n'
        "echo {{ exp.seed }} >> ran; while [ ! -e go ]; do sleep 0.1; done\n{% endblock %}"
    )
    return f"-Pdummy.launcher={path}"


def watched_squeue(directory: Path) -> tuple[Path, str]:
    """A file that grows whenever somebody looks at the queue, and the PATH with which that is so."""
    asked = directory / "asked"
    (directory / "squeue").write_text(f'#!/bin/sh\necho >> {asked}\nexec {shutil.which("squeue")} "$@"\n')
    (directory / "squeue").chmod(0o755)
    return asked, f"{directory}:{os.environ['PATH']}"


def impatient_sbatch(cluster: Cluster, directory: Path) -> tuple[Path, str]:
    """A file that is there once sbatch has given up, and the PATH with which it does so in a second; it takes MessageTimeout."""
    gave_up = directory / "gave up"
    conf = (cluster.directory / "slurm.conf").read_text()
    (directory / "slurm.conf").write_text(re.sub("MessageTimeout=.*", "MessageTimeout=1", conf))
    program = f'test -e {cluster.directory}/slurmctld.pid || export SLURM_CONF={directory}/slurm.conf\n{shutil.which("sbatch")} "$@"'
    (directory / "sbatch").write_text(f'#!/bin/sh\n{program} || {{ code=$?; touch "{gave_up}"; exit $code; }}\n')
    (directory / "sbatch").chmod(0o755)
    return gave_up, f"{directory}:{os.environ['PATH']}"


def test_a_grid_of_forty_in_arrays_within_the_limit(run: RunDlbs, tmp_path: Path) -> None:
    """MaxArraySize is 16, so that three arrays are needed."""
    done = run(f"-Vexp.seed={list(range(20))}", "-Vdummy.exit_code=[0,4]")
    assert done.returncode == 1
    assert "40 experiments: " in done.stderr
    assert "20 ok" in done.stderr
    assert "20 failure" in done.stderr
    found = [values(log) for log in logs(tmp_path)]
    assert len(found) == 40
    assert {one["exp.status"] for one in found} == {"ok", "failure"}
    assert all(one["exp.status_msg"] == ("exit code 4" if one["dummy.exit_code"] else "") for one in found)
    assert not list(tmp_path.glob("logs/.dlbs-slurm-*"))
    again = run(f"-Vexp.seed={list(range(20))}", "-Vdummy.exit_code=[0,4]")
    assert "40 already finished" in again.stderr


def test_experiments_with_the_same_resources_share_an_array(cluster: Cluster, run: RunDlbs, tmp_path: Path) -> None:
    done = run("-Vexp.seed=[1,2,3]", "-Vslurm.mem=[100M,200M]", "-Pdummy.seconds=10000", "--detach")
    assert done.returncode == 0, done.stderr
    assert "6 submitted" in done.stderr
    assert len(list(tmp_path.glob("logs/.dlbs-slurm-*.jsonl"))) == 2
    queue = cluster.command("squeue", "-h", "-r", "-o", "%j %m")
    assert sorted({line.split()[1] for line in queue.splitlines()}) == ["100M", "200M"]
    cluster.command("scancel", "--user", "root")
    wait_until(lambda: not cluster.command("squeue", "-h"))


def test_pending_jobs_of_batches_that_would_not_fit_are_withdrawn(
    cluster: Cluster, run: RunDlbs, tmp_path: Path
) -> None:
    """Also those that an earlier run submitted before it was known, whatever the order of the plan."""
    body = (
        "echo {{ exp.replica_batch }} >> ran; while [ {{ exp.replica_batch }} -ge 8 -a ! -e go ]; do sleep 0.1; done\n"
        "test {{ exp.replica_batch }} -ne 4 || (exit 3)"
    )
    ran, flag = tmp_path / "ran", launcher(tmp_path, body)
    run(flag, "-Vexp.replica_batch=[1,4,8,16]", "--jobs", "1", "--detach", check=True)
    wait_until(lambda: ran.is_file() and ran.read_text().split() == ["1", "4", "8"], "the first job that waits")
    process = start(cluster, tmp_path, flag, "-Vexp.replica_batch=[32,16,8,4,1]")
    wait_until(lambda: len(logs(tmp_path)) == 4, "the logs of the skipped ones")
    (tmp_path / "go").touch()
    _, told = process.communicate(timeout=PATIENCE)
    assert "1 ok, 2 skipped, 2 already finished" in told
    assert ran.read_text().split() == ["1", "4", "8"]


def test_interrupting_cancels_the_jobs(cluster: Cluster, run: RunDlbs, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, "-Vexp.seed=[1,2,3]", "-Pdummy.seconds=10000", "--jobs", "1")
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, told
    wait_until(lambda: not cluster.command("squeue", "-h"))
    found = [values(log)["exp.status"] for log in logs(tmp_path)]
    assert set(found) <= {"cancelled"}


def test_status_knows_what_slurm_is_going_to_run(run: RunDlbs, dlbs: RunDlbs, cluster: Cluster, tmp_path: Path) -> None:
    grid = (launcher(tmp_path, "while test ! -e go; do sleep 0.1; done"), "-Vexp.seed=[1,2,3]", "--jobs", "1")
    run(*grid, "--detach", check=True)
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    lock = tmp_path / "logs" / ".dlbs.lock"
    for content in (lock.read_bytes(), b"", bytes(40), None):  # also after it was damaged or removed
        lock.unlink() if content is None else lock.write_bytes(content)
        assert "3 experiments: 1 running, 2 queued" in dlbs("status", **cluster.environment).stdout
        here = dlbs("run", *DUMMY[:3], *grid[:2], **cluster.environment)
        assert "of an earlier run with --executor slurm will still write here" in here.stderr
    assert "does not respond" in dlbs("status", **cluster.environment, PATH="/nowhere").stderr
    (tmp_path / "go").touch()
    assert run(*grid).returncode == 0
    assert dlbs("status", **cluster.environment).returncode == 0
    assert not list(tmp_path.glob("logs/.dlbs-slurm-*"))


def test_a_cancelled_job_runs_again_next_time(cluster: Cluster, run: RunDlbs, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, until_go(tmp_path))
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    cluster.command("scancel", "--user", "root")
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "cancelled" in told
    (tmp_path / "go").touch()
    assert run(until_go(tmp_path)).returncode == 0
    assert values(logs(tmp_path)[0])["exp.status"] == "ok"


def test_a_lost_node_is_the_reason_and_retried(cluster: Cluster, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, until_go(tmp_path), "--retries", "1")
    wait_until((tmp_path / "ran").exists)
    node = f"NodeName={cluster.nodes[0]}"
    try:
        cluster.command("scontrol", "update", node, "State=DOWN", "Reason=défaut".encode("latin-1"))  # type: ignore[arg-type]
        wait_until(lambda: not list(tmp_path.glob("logs/*.part")))
        (tmp_path / "go").touch()
    finally:
        cluster.command("scontrol", "update", node, "State=IDLE")
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert f"stopped by SIGTERM: NODE_FAIL on {cluster.nodes[0]}" in told
    assert "retrying" in told


def test_answers_of_slurm_need_not_be_utf_8(cluster: Cluster, run: RunDlbs, tmp_path: Path) -> None:
    cluster.command("sbatch", "--hold", "--job-name", "café".encode("latin-1"), "--wrap", "true")  # type: ignore[arg-type]
    try:
        assert run().returncode == 0
    finally:
        cluster.command("scancel", "--user", "root")


def test_a_backslash_in_the_path_of_logs(run: RunDlbs, tmp_path: Path) -> None:
    done = run(f"-Pexp.log_dir={tmp_path}/a\\b%j")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "a\\b%j").glob("*.log"))) == 1


def test_a_task_without_its_directory_does_not_run_elsewhere(cluster: Cluster, run: RunDlbs, tmp_path: Path) -> None:
    """Slurm would run it in /tmp."""
    (tmp_path / "work").mkdir()
    blocker = cluster.command("sbatch", "--parsable", "--exclusive", "--wrap", "sleep 1000").strip()
    flag = launcher(tmp_path, f"pwd > {tmp_path}/ran")
    words = ["run", *DUMMY, flag, f"-Pexp.log_dir={tmp_path}/logs"]
    assert start_dlbs(tmp_path / "work", *words, "--detach", **cluster.environment).wait() == 0
    (tmp_path / "work").rename(tmp_path / "moved")
    cluster.command("scancel", blocker)
    wait_until(lambda: not cluster.command("squeue", "-h"))
    assert not (tmp_path / "ran").exists()
    (tmp_path / "moved").rename(tmp_path / "work")
    process = start_dlbs(tmp_path / "work", *words, **cluster.environment)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert (tmp_path / "ran").read_text().strip() == f"{tmp_path}/work"


def test_a_launcher_that_vanished_is_no_failure(cluster: Cluster, run: RunDlbs, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, until_go(tmp_path), "-Vexp.seed=[1,2]", "--jobs", "1")
    wait_until((tmp_path / "ran").exists)
    (tmp_path / "own.sh").unlink()
    (tmp_path / "go").touch()
    _, told = process.communicate(timeout=PATIENCE)
    assert "no launcher" in told
    assert "1 ok, 1 cancelled" in told
    assert run(until_go(tmp_path), "-Vexp.seed=[1,2]").returncode == 0


def test_interrupting_while_slurm_does_not_answer(cluster: Cluster, run: RunDlbs, tmp_path: Path) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\ntest ! -e {tmp_path}/silent || exit 1\nexec {shutil.which("squeue")} "$@"\n')
    squeue.chmod(0o755)
    process = start(cluster, tmp_path, until_go(tmp_path), PATH=f"{tmp_path}:{os.environ['PATH']}")
    wait_until((tmp_path / "ran").exists)
    (tmp_path / "silent").touch()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGINT, told
    assert "Slurm does not respond: jobs may continue" in told
    (tmp_path / "go").touch()
    assert run(until_go(tmp_path)).returncode == 0
    assert (tmp_path / "ran").read_text().count("\n") == 1


def test_a_job_that_runs_out_of_time(run: RunDlbs, tmp_path: Path) -> None:
    """Slurm's own limit comes late and writes nothing into the log; ours is fifteen seconds earlier."""
    done = run("-Pdummy.seconds=10000", "-Pslurm.time=00:00:17")
    assert done.returncode == 1
    assert values(logs(tmp_path)[0])["exp.status"] == "timeout"


def test_a_drained_node_only_delays(cluster: Cluster, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, f"-Vexp.seed={list(range(8))}", until_go(tmp_path), "--jobs", "2")
    wait_until(lambda: len(list(tmp_path.glob("logs/*.part"))) == 2)
    cluster.command("scontrol", "update", f"NodeName={cluster.nodes[0]}", "State=DRAIN", "Reason=test")
    (tmp_path / "go").touch()
    wait_until(lambda: cluster.command("sinfo", "-h", "-o", "%T").split() == ["drained"], "both jobs have ended")
    wait_until(lambda: len(logs(tmp_path)) == 2)
    assert cluster.command("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i").split()
    assert not list(tmp_path.glob("logs/*.part"))
    assert process.poll() is None
    cluster.command("scontrol", "update", f"NodeName={cluster.nodes[0]}", "State=RESUME")
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert len(logs(tmp_path)) == 8


def test_a_restarted_controller_only_delays(cluster: Cluster, tmp_path: Path) -> None:
    asked, path = watched_squeue(tmp_path)
    process = start(cluster, tmp_path, f"-Vexp.seed={list(range(6))}", until_go(tmp_path), "--jobs", "2", PATH=path)
    wait_until(lambda: len(list(tmp_path.glob("logs/*.part"))) == 2)
    cluster.end("slurmctld")
    before = asked.stat().st_size
    (tmp_path / "go").touch()
    wait_until(lambda: len(logs(tmp_path)) == 2, "the two that run end without a controller")
    wait_until(lambda: asked.stat().st_size > before, "a look at the queue without a controller")
    cluster.command("slurmctld")
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert len(logs(tmp_path)) == 6


def test_what_cannot_be_submitted_while_the_controller_is_away_is_submitted_later(
    cluster: Cluster, tmp_path: Path
) -> None:
    """It goes away in the pause before the next attempt, which is four seconds after the third."""
    flag = launcher(tmp_path, "echo attempt >> ran; test $(wc -l < ran) -eq 2")
    gave_up, path = impatient_sbatch(cluster, tmp_path)
    process = start(cluster, tmp_path, flag, "-Pexp.attempt=3", "--retries", "5", PATH=path)
    wait_until(lambda: list(tmp_path.glob("logs/*.attempt3")))
    cluster.end("slurmctld")
    wait_until(gave_up.exists, "an sbatch that gives up")
    assert process.poll() is None
    cluster.command("slurmctld")
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert (tmp_path / "ran").read_text().split() == ["attempt"] * 2
    assert values(logs(tmp_path)[0])["exp.attempt"] == 4


def test_gpus_are_those_that_slurm_gave(run: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, 'echo "mine: $CUDA_VISIBLE_DEVICES"; sleep 0.2')
    done = run(flag, "-Vexp.seed=[1,2]", "-Pexp.gpus=any:1", "--no-validation")
    assert done.returncode == 0, done.stderr
    assert len(logs(tmp_path)) == 2
    for log in logs(tmp_path):
        assert values(log)["exp.gpu_ids"] in {"0", "1"}
        assert f"mine: {values(log)['exp.gpu_ids']}\n" in log.read_text()


@pytest.mark.parametrize(("gpus", "count"), [("0", 1), ("7", 1), ("4:5", 2)])
def test_numbers_request_as_many_gpus_and_get_those_that_slurm_gave(
    cluster: Cluster, run: RunDlbs, tmp_path: Path, gpus: str, count: int
) -> None:
    """Two jobs with one GPU each have to overlap; the third one waits for one of them."""
    body = 'echo "mine: $CUDA_VISIBLE_DEVICES of $SLURM_JOB_GPUS"; echo >> began\n'
    wait = f"while test $(wc -l < began) -lt {2 // count}; do sleep 0.05; done"
    done = run(launcher(tmp_path, body + wait), "-Vexp.seed=[1,2,3]", f"-Pexp.gpus={gpus}", "--no-validation")
    assert done.returncode == 0, done.stderr
    found = [(values(log), log.read_text()) for log in logs(tmp_path)]
    assert len(found) == 3
    for one, log in found:
        assert one["exp.gpus"] == gpus
        assert f"mine: {one['exp.gpu_ids']} of {one['exp.gpu_ids']}\n" in log
    assert {one["exp.gpu_ids"] for one, _ in found} == ({"0", "1"} if count == 1 else {"0,1"})


def test_fewer_allocated_gpus_than_the_numbers_request(run: RunDlbs, tmp_path: Path) -> None:
    done = run("-Pexp.gpus=0,1", "-Pslurm.gres=gpu:1", "--no-validation")
    assert done.returncode == 1
    assert values(logs(tmp_path)[0])["exp.status_msg"] == "exp.gpus requests 2 GPUs, but 1 are usable"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-Pslurm.partition=nowhere"], "sbatch rejects the jobs"),
        (["--retries", "2", "--detach"], "--retries"),
        (["-Pexp.gpus=0,0"], "exp.gpus names a GPU twice"),
        (["-Pexp.gpus=0,1", "-Pslurm.gres=gpu:1"], "exp.gpus requests 2 GPUs, but slurm.gres=gpu:1 only 1"),
        (["-Pslurm.time=soon"], "slurm.time: 'soon' is not a time limit"),
    ],
)
def test_bad_input(run: RunDlbs, flags: list[str], said: str) -> None:
    done = run(*flags)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_slurm_is_said(dlbs: RunDlbs) -> None:
    done = dlbs("run", *DUMMY, PATH="/nowhere")
    assert done.returncode == 2
    assert "command 'sbatch' not found" in done.stderr


def test_options() -> None:
    experiment = {
        "slurm.partition": "fast",
        "slurm.cpus_per_task": 4,
        "slurm.mem": "",
        "slurm.extra": ["--exclusive"],
        "exp.gpus": "any:2",
        "exp.num_nodes": 3,
        "runtime.memory": "2G",
    }
    assert options_of(experiment) == (
        *("--cpus-per-task=4", "--partition=fast", "--nodes=3", "--ntasks-per-node=1"),
        *("--gres=gpu:2", "--mem=2048M", "--exclusive"),
    )


@pytest.mark.parametrize(
    ("limit", "seconds"), [("", 0), ("5", 300), ("5:30", 330), ("1:00:05", 3605), ("1-2", 93600), ("1-0:0:7", 86407)]
)
def test_time_limits(limit: str, seconds: float) -> None:
    assert time_limit(limit) == seconds


def test_two_nodes_train_together(dlbs: RunDlbs, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    two = Cluster(tmp_path_factory.mktemp("two"), (HOST, f"{HOST}x"))
    two.start()
    try:
        flags = (
            "-Pexp.docker=false",
            "-Pexp.gpus=",
            "-Pexp.model=deep_mnist",
            "-Pexp.num_batches=3",
            "-Ppytorch.passes=none",
        )
        done = dlbs("run", "--executor", "slurm", *flags, "-Pexp.num_nodes=2", **two.environment)
        assert done.returncode == 0, done.stderr
    finally:
        two.stop()
    (log,) = logs(tmp_path)
    found = values(log)
    assert found["exp.effective_batch"] == 32
    assert found["results.throughput"] == pytest.approx(32 * 1000 / found["results.time"])
    assert log.read_text().count("__results.throughput__") == 1


def test_several_nodes_are_one_job_of_torchruns(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (
        "-Pexp.docker=false",
        "-Pexp.gpus=",
        "-Pexp.num_nodes=2",
        "-Pexp.num_local_replicas=2",
        "-Pexp.model=deep_mnist",
    )
    shown = dlbs("run", *flags, "--executor", "slurm", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "srun --kill-on-bad-exit=1" in shown.stdout
    assert "--nnodes=2 --nproc-per-node=2" in shown.stdout
    plan = json.loads(dlbs("build", "--resolve", *flags).stdout)
    assert plan[0]["exp.effective_batch"] == 16 * 4


def test_inference_under_load_in_a_job(cluster: Cluster, dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (
        "-Pexp.phase=serving",
        "-Pexp.docker=false",
        "-Pexp.gpus=",
        "-Pexp.model=deep_mnist",
        "-Pexp.num_warmup_batches=0",
    )
    short = ("-Pserving.min_duration=0.1", "-Pserving.percentile=50", "-Pserving.samples=4")
    done = dlbs("run", "--executor", "slurm", *flags, *short, **cluster.environment)
    assert done.returncode == 0, done.stderr
    (log,) = logs(tmp_path)
    assert values(log)["results.serving.valid"] is True
    assert (tmp_path / "logs" / f"{log.name}.loadgen" / "mlperf_log_summary.txt").exists()


@pytest.mark.parametrize("step", ["", "srun --ntasks=1 --overlap "])
def test_a_server_in_a_job_or_a_step_of_it(cluster: Cluster, dlbs: RunDlbs, tmp_path: Path, step: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = f"{step}{sys.executable} {ROOT}/tests/known_server.py '{{}}' {port}"
    done = dlbs(
        "run", "--executor", "slurm", "-Pexp.phase=serving", "-Pexp.docker=false", "-Pexp.gpus=", "-Pexp.model=any",
        "-Pserving.scenario=concurrent", "-Pexp.num_warmup_batches=1", "-Pserving.min_duration=0.1",
        f"-Pserving.url=http://127.0.0.1:{port}", f"-Pserving.command={command}", **cluster.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert values(logs(tmp_path)[0])["results.serving.failed"] == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_server_on_a_node_of_its_own(cluster: Cluster, dlbs: RunDlbs, tmp_path: Path) -> None:
    """The client runs outside of Slurm; srun allocates a node for the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (
        f"srun --nodelist={cluster.nodes[-1]} --exclusive {sys.executable} {ROOT}/tests/known_server.py '{{}}' {port}"
    )
    done = dlbs(
        "run", "-Pexp.phase=serving", "-Pexp.docker=false", "-Pexp.gpus=", "-Pexp.model=any",
        "-Pserving.scenario=concurrent", "-Pexp.num_warmup_batches=1", "-Pserving.min_duration=0.1",
        f"-Pserving.url=http://127.0.0.1:{port}", f"-Pserving.command={command}", **cluster.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert values(logs(tmp_path)[0])["results.serving.failed"] == 0
    environment = {**os.environ, **cluster.environment}
    queue = ["squeue", "--noheader"]
    wait_until(lambda: not subprocess.run(queue, env=environment, capture_output=True, text=True, check=True).stdout)
