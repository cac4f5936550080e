"""Where several machines meet, and the interface between them."""

from __future__ import annotations

import socket

import pytest

from benchmark_core.exits import UsageError
from pytorch_benchmarks.distributed import run_replicas
from pytorch_benchmarks.network import endpoint, interface_to
from pytorch_benchmarks.options import CommonOptions


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
