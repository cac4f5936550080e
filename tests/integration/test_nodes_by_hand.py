"""Nodes that are started by hand: one that is refused or missing, and two that differ."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.conftest import BENCHMARKS, RunDlbs
from tests.experiments import logs, values
from tests.forked import ForkServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

MNIST = (
    "-Pexp.model=deep_mnist",
    "-Pexp.gpus=",
    "-Pexp.docker=false",
    "-Pexp.num_batches=3",
    "-Pexp.num_warmup_batches=1",
)


def test_by_hand_a_node_that_is_alone_says_for_whom_it_waits_and_ends(dlbs: RunDlbs, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = ("-Pexp.num_nodes=2", f"-Pexp.rendezvous={place}", "-Pexp.rendezvous_timeout=3")
    refused = dlbs("run", *MNIST, *meeting, "-Pexp.node_rank=1", "-Pexp.batch=16")
    assert refused.returncode == 2
    done = dlbs("run", *MNIST, *meeting)
    assert done.returncode == 1
    assert f"node 0 of 2: waits for the other nodes at {place} until " in done.stderr
    assert f"node 1 did not arrive at {place} within 3 s" in done.stderr
    (log,) = logs(tmp_path)
    assert f"waiting for node 1 at {place} until " in log.read_text()
    assert values(log)["exp.status_msg"].startswith("node 1 did not arrive")


def test_by_hand_nodes_that_run_different_models_end_at_once(forked_torch: ForkServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    program = (
        str(BENCHMARKS / "benchmarks.py"),
        "--model=deep_mnist",
        "--device=cpu",
        "--num_nodes=2",
        f"--rendezvous={place}",
        f"--rendezvous_timeout={int(PATIENCE)}",
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    nodes = [
        forked_torch.start(
            *program, f"--node_rank={rank}", f"--batch_size={batch}", directory=tmp_path, environment=environment
        )
        for rank, batch in enumerate((16, 8))
    ]
    for node in nodes:
        _, said = node.communicate(timeout=PATIENCE)
        assert node.returncode == 2
        assert "the nodes differ: --batch_size 16 on node 0 (" in said
