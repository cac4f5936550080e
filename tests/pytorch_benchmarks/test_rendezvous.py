"""Nodes that wait for each other: all come, one is missing, two are different, two have the same number."""

from __future__ import annotations

import json
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from benchmark_core.exits import BenchmarkError, UsageError
from pytorch_benchmarks.distributed import run_replicas
from pytorch_benchmarks.options import CommonOptions
from pytorch_benchmarks.rendezvous import Node, endpoint, interface_to, meet
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def place() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return "127.0.0.1", free.getsockname()[1]


@dataclass
class Started:
    """A node under way in a thread of its own."""

    said: list[str] = field(default_factory=list)
    outcome: Future[None] = field(default_factory=Future)

    def error(self) -> str:
        with pytest.raises(BenchmarkError) as caught:
            self.outcome.result(PATIENCE)
        return str(caught.value)


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=8)


def start(
    pool: ThreadPoolExecutor, place: tuple[str, int], rank: int, count: int = 2, seconds: float = PATIENCE, **facts: str
) -> Started:
    node = Started()
    self = Node(rank, count, f"host{rank}", facts)
    node.outcome = pool.submit(meet, self, place, seconds, quiet=0, say=node.said.append)
    return node


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_nodes_meet_in_whatever_order_they_come(
    pool: ThreadPoolExecutor, place: tuple[str, int], order: tuple[int, ...]
) -> None:
    nodes = [start(pool, place, rank, 3, model="alexnet") for rank in order]
    for node in nodes:
        node.outcome.result(PATIENCE)


def test_the_port_is_free_again_when_they_have_met(pool: ThreadPoolExecutor, place: tuple[str, int]) -> None:
    for _ in range(2):
        for node in [start(pool, place, rank) for rank in (0, 1)]:
            node.outcome.result(PATIENCE)


@pytest.mark.parametrize(("rank", "whom"), [(0, "node 1"), (1, "node 0")])
def test_a_node_says_whom_it_waits_for_and_until_when_and_then_ends(
    pool: ThreadPoolExecutor, place: tuple[str, int], rank: int, whom: str
) -> None:
    node = start(pool, place, rank, seconds=0.3)
    where = f"127.0.0.1:{place[1]}"
    assert (
        node.error()
        == f"{whom} did not arrive at {where} within 0.3 s: check the output of the other nodes, and start all nodes again"
    )
    (said,) = node.said
    assert said.startswith(f"waiting for {whom} at {where} until ")
    assert said.endswith(" (0.3 s; exp.rendezvous_timeout, --rendezvous_timeout)")


@pytest.mark.integration
def test_those_that_have_come_learn_who_is_missing(pool: ThreadPoolExecutor, place: tuple[str, int]) -> None:
    for seconds in (1, 10, 100):  # as long as this machine needs to bring the second one there
        first, second = start(pool, place, 0, 3, seconds), start(pool, place, 1, 3, seconds)
        errors = [first.error(), second.error()]
        if "nodes 1, 2 did not arrive" not in errors[0]:
            break
    assert all("node 2 did not arrive" in error for error in errors)
    assert any(line.startswith("waiting for node 2 at ") for line in second.said)


def test_a_node_that_goes_again_may_come_back(pool: ThreadPoolExecutor, place: tuple[str, int]) -> None:
    first = start(pool, place, 0, 3)
    wait_until(lambda: first.said)
    with socket.create_connection(place) as connection:
        connection.sendall(Node(1, 3, "host1", {}).greeting())
        assert b'"missing": [2]' in connection.recv(1000)
    wait_until(lambda: "node 1 (host1) disconnected" in first.said)
    for node in (first, start(pool, place, 1, 3), start(pool, place, 2, 3)):
        node.outcome.result(PATIENCE)


def test_nodes_that_run_different_things_end_with_the_difference(
    pool: ThreadPoolExecutor, place: tuple[str, int]
) -> None:
    nodes = [start(pool, place, 0, PyTorch="2.11", model="vgg16"), start(pool, place, 1, PyTorch="2.10", model="vgg16")]
    for node in nodes:
        assert node.error() == "the nodes differ: PyTorch 2.11 on node 0 (host0), 2.10 on node 1 (host1)"
        assert isinstance(node.outcome.exception(), UsageError)


def test_nodes_that_count_differently_end(pool: ThreadPoolExecutor, place: tuple[str, int]) -> None:
    for node in [start(pool, place, 0, 2), start(pool, place, 1, 3)]:
        assert "number of nodes 2 on node 0 (host0), 3 on node 1 (host1)" in node.error()


def test_the_second_node_of_a_number_is_refused_and_the_others_go_on(
    pool: ThreadPoolExecutor, place: tuple[str, int]
) -> None:
    first = start(pool, place, 0, 3)
    second = start(pool, place, 1, 3)
    wait_until(lambda: second.said)
    wait_until(lambda: any("waiting for node 2 at" in line for line in second.said))
    assert (
        "node 1 (host1) is already connected: set a different exp.node_rank for each node"
        in start(pool, place, 1, 3).error()
    )
    start(pool, place, 2, 3).outcome.result(PATIENCE)
    first.outcome.result(PATIENCE)
    second.outcome.result(PATIENCE)


def test_a_second_node_0_on_the_same_machine_cannot_listen(pool: ThreadPoolExecutor, place: tuple[str, int]) -> None:
    first = start(pool, place, 0)
    wait_until(lambda: first.said)
    assert f"node 0 cannot listen on port {place[1]} of this machine" in start(pool, place, 0).error()
    start(pool, place, 1).outcome.result(PATIENCE)
    first.outcome.result(PATIENCE)


def test_strangers_do_not_count(pool: ThreadPoolExecutor, place: tuple[str, int]) -> None:
    first = start(pool, place, 0)
    wait_until(lambda: first.said)
    rubbish = [b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"[1]\n", b"\xff\n", json.dumps({"rank": -1}).encode() + b"\n"]
    rubbish += [
        b'{"rank": 1, "count": 2, "name": 3, "facts": {}}\n',
        b'{"error": "x"}\n',
        b"x" * 100_000,
        b"[" * 50_000 + b"\n",
    ]
    for data in rubbish:
        with socket.create_connection(place) as connection, suppress(OSError):  # it may be closed before all is sent
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
    assert not first.outcome.done()
    start(pool, place, 1).outcome.result(PATIENCE)
    first.outcome.result(PATIENCE)


def test_what_else_listens_there_is_not_taken_for_node_0(pool: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = start(pool, ("127.0.0.1", silent.getsockname()[1]), 1, seconds=0.5)
        assert "node 0 did not arrive" in node.error()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host:29500", ("host", 29500)),
        ("[fe80::1]:5", ("fe80::1", 5)),
        ("host", None),
        ("host:", None),
        (":5", None),
        ("host:0", None),
        ("host:70000", None),
    ],
)
def test_endpoint(text: str, found: tuple[str, int] | None) -> None:
    assert endpoint(text) == found


def test_loopback_is_no_way_to_another_machine() -> None:
    assert interface_to("127.0.0.1") == ""
    assert interface_to("no host") == ""


def test_the_interface_is_one_of_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no route")
    assert interface_to("192.0.2.1") in {name for _, name in socket.if_nameindex()} - {"lo"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (CommonOptions(num_nodes=2, num_replicas=1), "--rendezvous '': 2 nodes need HOST:PORT"),
        (CommonOptions(num_nodes=2, node_rank=2, rendezvous="h:1", num_replicas=1), "numbered from 0 to 1"),
    ],
)
def test_nodes_that_cannot_meet(options: CommonOptions, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(UsageError, match=said):
        run_replicas(options, "program.py", [])
