"""Experiments on several machines by ssh: real sshds in network namespaces."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmark_core.exits import UNAVAILABLE
from tests.conftest import BENCHMARKS, ROOT, RunDlbs
from tests.experiments import DUMMY, launcher, logs, start, values
from tests.forked import ForkServer, Program
from tests.ssh_nodes import NODES, Nodes
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.needs("sshd")]

BOTH = ("--nodes", ",".join(NODES))
MNIST = (
    "-Pexp.model=deep_mnist",
    "-Pexp.gpus=",
    "-Pexp.docker=false",
    "-Pexp.num_batches=3",
    "-Pexp.num_warmup_batches=1",
    "-Ppytorch.passes=none",
    "-Ppytorch.num_threads=1",  # a node starts with its own environment, without OMP_NUM_THREADS
)

# Each node says that it is there. One that is told to go on does not; a worker has a session of its own, as those of torchrun.
HOLD = (
    "setsid sleep 1000 & touch here{{ exp.node_rank }}; echo begun; echo '__results.throughput__= '{{ exp.node_rank }}; "
    "while [ ! -e go{{ exp.node_rank }} ]; do sleep 0.1; done; exit $(cat go{{ exp.node_rank }})"
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def processes(directory: Path) -> set[int]:
    """Those that run in a directory, on all nodes: namespaces of the network share the processes."""
    found = set()
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if one.cwd() == str(directory) and one.status() != psutil.STATUS_ZOMBIE:
                found.add(one.pid)
    return found - {os.getpid()}


def begin(nodes: Nodes, directory: Path, *flags: str) -> Program | subprocess.Popen[str]:
    """A run of launchers that hold both nodes until they are told to go on."""
    run = start(directory, launcher(directory, HOLD), *BOTH, *flags, **nodes.environment)
    wait_until(lambda: all((directory / f"here{rank}").exists() for rank in (0, 1)))
    return run


def test_two_nodes_train_together(nodes: Nodes, dlbs: RunDlbs, forked_torch: ForkServer, tmp_path: Path) -> None:
    done = dlbs("run", *MNIST, *BOTH, **nodes.environment)
    assert done.returncode == 0, done.stderr
    (log,) = logs(tmp_path)
    found = values(log)
    assert found["exp.status"] == "ok"
    assert found["exp.num_nodes"] == found["exp.num_replicas"] == 2
    assert found["exp.effective_batch"] == 32
    assert found["results.throughput"] == pytest.approx(32 * 1000 / found["results.time"])
    assert log.read_text().count("__results.throughput__") == 1
    assert log.read_text().count("__exp.status__") == 1
    assert log.read_text().count("__exp.node_rank__") == 1
    assert "\n[beta] __exp.exit_code__= 0\n" in log.read_text()
    assert wait_until(lambda: not processes(tmp_path))
    assert found["results.loss"] == pytest.approx(loss_of_two_replicas(forked_torch, tmp_path), rel=1e-5)


def loss_of_two_replicas(forked_torch: ForkServer, directory: Path) -> float:
    """Of the same training in two processes here, which start with the environment that torchrun sets."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    common = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    common |= {"TORCHELASTIC_RUN_ID": "here", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    program = str(BENCHMARKS / "benchmarks.py")
    few = ("--num_batches=3", "--num_warmup_batches=1", "--batch_size=16", "--passes=none")
    options = ("--model=deep_mnist", "--device=cpu", *few)
    first, second = (
        forked_torch.start(
            program, *options, directory=directory, environment=common | {"RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in ("0", "1")
    )
    said, _ = first.communicate(timeout=PATIENCE)
    second.communicate(timeout=PATIENCE)
    assert (first.returncode, second.returncode) == (0, 0)
    return float(re.findall("__results.loss__= (.*)", said)[-1])


def test_a_node_that_fails_ends_the_others_and_says_why(nodes: Nodes, tmp_path: Path) -> None:
    run = begin(nodes, tmp_path)
    (tmp_path / "go1").write_text("5")
    assert run.wait() == 1
    (log,) = logs(tmp_path)
    assert values(log)["exp.status_msg"] == "node beta: exit code 5"
    assert "\nbegun\n" in log.read_text()
    assert "\n[beta] begun\n" in log.read_text()
    assert values(log)["results.throughput"] == 0  # that of the first node
    assert not processes(tmp_path)


def test_a_connection_that_breaks_ends_both_nodes(nodes: Nodes, tmp_path: Path) -> None:
    run = begin(nodes, tmp_path)
    nodes.kill_connections("beta")
    assert run.wait() == UNAVAILABLE
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "cancelled"
    assert values(log)["exp.status_msg"].startswith("node beta: connection lost (")
    assert wait_until(lambda: not processes(tmp_path))


def test_a_node_that_vanishes_is_noticed_on_both_sides(nodes: Nodes, tmp_path: Path) -> None:
    run = begin(nodes, tmp_path, "-Pexp.node_timeout=15")
    nodes.cut("beta")
    try:
        assert run.wait() == UNAVAILABLE
        (log,) = logs(tmp_path)
        assert values(log)["exp.status_msg"].startswith("node beta: connection lost (")
        assert wait_until(lambda: not processes(tmp_path))
    finally:
        nodes.join("beta")


def pause(run: Program | subprocess.Popen[str], number: signal.Signals) -> None:
    """Stop or continue dlbs with all that it started on this machine, as the sleep of a laptop does."""
    tree = psutil.Process(run.pid)
    for one in (tree, *tree.children(recursive=True)):
        one.send_signal(number)


def test_a_pause_shorter_than_the_timeout_of_nodes_is_survived(nodes: Nodes, tmp_path: Path) -> None:
    run = begin(nodes, tmp_path, "-Pexp.node_timeout=15")
    pause(run, signal.SIGSTOP)
    time.sleep(14)
    pause(run, signal.SIGCONT)
    for rank in (0, 1):
        (tmp_path / f"go{rank}").write_text("0")
    assert run.wait() == 0
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "ok"


def test_a_longer_pause_is_the_reason_and_the_same_command_runs_it_again(nodes: Nodes, tmp_path: Path) -> None:
    run = begin(nodes, tmp_path, "-Pexp.node_timeout=2")
    ours = {run.pid, *(one.pid for one in psutil.Process(run.pid).children(recursive=True))}
    pause(run, signal.SIGSTOP)
    wait_until(lambda: processes(tmp_path) <= ours)
    pause(run, signal.SIGCONT)
    assert run.wait() == UNAVAILABLE
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "cancelled"
    assert (
        "got no heartbeat, because dlbs was paused, this machine slept, or the network failed: more than 2 s"
        in values(log)["exp.status_msg"]
    )
    for rank in (0, 1):
        (tmp_path / f"go{rank}").write_text("0")
    run = begin(nodes, tmp_path, "-Pexp.node_timeout=2")
    assert run.wait() == 0
    assert values(log)["exp.status"] == "ok"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_dlbs_leaves_no_process_on_any_node(nodes: Nodes, tmp_path: Path, number: signal.Signals) -> None:
    run = begin(nodes, tmp_path)
    assert processes(tmp_path)
    run.send_signal(number)
    run.wait()
    if number == signal.SIGINT:
        (log,) = logs(tmp_path)
        assert values(log)["exp.status"] == "cancelled"
        assert not processes(tmp_path)
    assert wait_until(lambda: not processes(tmp_path))


def test_a_killed_session_leaves_no_process_on_any_node(nodes: Nodes, tmp_path: Path) -> None:
    """What holds the connections may be killed too."""
    run = begin(nodes, tmp_path)
    (session,) = psutil.Process(run.pid).children()
    assert session.cmdline()[-1] == "dlbs.executors.ssh_session"
    session.kill()
    assert run.wait() == UNAVAILABLE
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "cancelled"
    assert values(log)["exp.status_msg"] == "the session with the nodes was ended by SIGKILL"
    assert wait_until(lambda: not processes(tmp_path))


def test_experiments_of_a_plan_run_one_after_the_other(nodes: Nodes, dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, *BOTH, "-Vdummy.exit_code=[0,4,77]", "--retries", "1", **nodes.environment)
    assert done.returncode == 1
    ended = {values(log)["exp.status"]: values(log)["exp.status_msg"].split("; ") for log in logs(tmp_path)}
    assert {status: sorted(reasons) for status, reasons in ended.items()} == {
        "ok": [""],
        "failure": ["node alpha: exit code 4", "node beta: exit code 4"],  # in the order in which they ended
        "skipped": ["node alpha: exit code 77", "node beta: exit code 77"],
    }
    again = dlbs("run", *DUMMY, *BOTH, "-Vdummy.exit_code=[0,4,77]", **nodes.environment)
    assert "3 already finished" in again.stderr


def test_a_timeout_ends_both_nodes(nodes: Nodes, tmp_path: Path) -> None:
    run = start(tmp_path, launcher(tmp_path, HOLD), *BOTH, "-Pexp.timeout=5", **nodes.environment)
    assert run.wait() == 1
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "timeout"
    assert not processes(tmp_path)


def test_what_is_wrong_with_nodes_is_said_before_anything_runs(nodes: Nodes, dlbs: RunDlbs, tmp_path: Path) -> None:
    unknown = dlbs("run", *DUMMY, "--nodes", "alpha,gamma.invalid", **nodes.environment)
    assert unknown.returncode == 2
    assert "node gamma.invalid cannot be reached: ssh: Could not resolve hostname" in unknown.stderr
    other = tmp_path / "other.config"
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    other.write_text(nodes.config.read_text().replace(f"{nodes.directory}/user\n", f"{key}\n"))
    refused = dlbs("run", *DUMMY, *BOTH, DLBS_SSH=f"ssh -F {other}")
    assert refused.returncode == 2
    assert "node alpha cannot be reached: root@" in refused.stderr
    assert "Permission denied (publickey" in refused.stderr
    assert "authorized_keys" in refused.stderr
    python = dlbs("run", *MNIST, *BOTH, "--no-validation", "-Pruntime.python=/nowhere/python", **nodes.environment)
    assert python.returncode == UNAVAILABLE
    assert "node alpha cannot run /nowhere/python" in python.stderr
    assert dlbs("validate", *DUMMY, *BOTH, **nodes.environment).returncode == 0
    assert "--nodes" in dlbs("run", *DUMMY, *BOTH, "--executor", "slurm").stderr


def test_a_node_without_the_directory(nodes: Nodes, dlbs: RunDlbs, tmp_path: Path) -> None:
    """The node sees an empty directory in the place of this one: its shell has mounts of its own."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (tmp_path / "bash").write_text(f'#!/bin/sh\nexec unshare -m sh -c "mount -t tmpfs none {tmp_path}; exec bash -s"\n')
    (tmp_path / "bash").chmod(0o755)
    program = tmp_path / "ssh"
    program.write_text(
        "#!/bin/sh\nfor word; do last=$word; done\n"
        f'test "$last" = "exec bash -s" || exit 9\nexec ssh -F {nodes.config} -o BatchMode=yes alpha {tmp_path}/bash\n'
    )
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "dlbs", "run", *DUMMY, "--nodes", "alpha"],
        cwd=hidden, env={**os.environ, "PYTHONPATH": str(ROOT), "DLBS_SSH": str(program)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"node alpha has no directory {hidden} (share the directory between the nodes, or copy it" in done.stderr


def test_by_hand_the_same_command_on_each_node(nodes: Nodes, tmp_path: Path) -> None:
    meeting = (
        "-Pexp.num_nodes=2",
        f"-Pexp.rendezvous={nodes.network}.2:29500",
        "-Pexp.phase=inference",
        "-Ppytorch.passes=none",
    )
    runs = [
        subprocess.Popen(
            ["ip", "netns", "exec", nodes.namespace(name), sys.executable, "-m", "dlbs", "run", *MNIST, *meeting, f"-Pexp.node_rank={rank}"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )
        for rank, name in enumerate(NODES)
    ]  # fmt: skip
    for run in runs:
        _, said = run.communicate()
        assert run.returncode == 0, said
    (log,) = logs(tmp_path)
    assert values(log)["results.throughput"] > 0
    (other,) = tmp_path.glob("logs/node1/*.log.node1")
    assert other.name == f"{log.name}.node1"
    assert values(other)["exp.status"] == "ok"
    assert "results.throughput" not in values(other)


def test_code_that_changed_on_a_node_is_reported(nodes: Nodes, dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text("import local\n")
    (tmp_path / "local.py").write_text("")
    words = (*BOTH, "-Pexp.num_batches=1", "--", "python3", "bench.py")
    dlbs("run", *words, check=True, **nodes.environment)
    assert "1 already finished\n" in dlbs("run", *words, check=True, **nodes.environment).stderr
    (tmp_path / "local.py").write_text("# changed\n")
    told = dlbs("run", *words, check=True, **nodes.environment).stderr
    assert f"with other code: local.py changed on {NODES[0]}\n" in told
    assert "stale" not in dlbs("status", check=True, **nodes.environment).stdout  # it asks no nodes
