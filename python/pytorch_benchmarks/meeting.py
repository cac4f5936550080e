"""Rendezvous of nodes that are started separately: they wait for each other, reporting the wait, and compare what they run.

torchrun would wait silently. Node 0 listens; the others connect, identify themselves, and wait for its answer. Messages are JSON lines.
"""

from __future__ import annotations

import errno
import json
import secrets
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from pytorch_benchmarks.errors import BenchmarkError, UsageError

__all__ = ["Node", "meet"]

_PAUSE = 0.5  # seconds between two attempts to reach node 0, at most
_FIRST_PAUSE = 0.05  # seconds after the first attempt; each further pause is twice as long
_LONGEST = 1 << 16  # bytes of a message
_PATIENCE = 5.0  # seconds to wait for an answer of node 0
_LATE = 10.0  # seconds after node 0's own timeout in which its answer may arrive


@dataclass(frozen=True, slots=True)
class Node:
    """A node, as it describes itself to the others.

    Attributes:
        rank: Its number, from 0.
        count: Number of nodes.
        name: Host name.
        facts: Values that must be equal on all nodes, by descriptive names.
    """

    rank: int
    count: int
    name: str
    facts: Mapping[str, str]

    def greeting(self, token: str = "") -> bytes:
        return _line(
            {"rank": self.rank, "count": self.count, "name": self.name, "facts": {**self.facts}, "token": token}
        )

    def describe(self) -> str:
        return f"node {self.rank} ({self.name})"


@dataclass(frozen=True, slots=True)
class _Wait:
    """The timeout of a node.

    Attributes:
        place: Rendezvous address, as text.
        seconds: Timeout.
        until: Deadline by `time.monotonic()`.
        quiet: Seconds of waiting before it is reported.
        say: Prints a line for the user.
    """

    place: str
    seconds: float
    until: float
    quiet: float
    say: Callable[[str], None]

    @property
    def left(self) -> float:
        return max(0.0, self.until - time.monotonic())

    @property
    def is_worth_saying(self) -> bool:
        return self.seconds - self.left >= self.quiet

    def describe(self, whom: str) -> str:
        end = time.strftime("%H:%M:%S", time.localtime(time.time() + self.left))
        return f"waiting for {whom} at {self.place} until {end} ({self.seconds:g} s; exp.rendezvous_timeout, --rendezvous_timeout)"

    def end(self, whom: str) -> str:
        return f"{whom} did not arrive at {self.place} within {self.seconds:g} s: check the output of the other nodes, and start all nodes again"


def meet(
    node: Node, place: tuple[str, int], seconds: float, *, quiet: float = 2.0, say: Callable[[str], None] = print
) -> None:
    """Wait until all nodes have arrived.

    Args:
        node: This node.
        place: Address and port of node 0.
        seconds: Timeout.
        quiet: Seconds of waiting before it is reported.
        say: Prints lines for the user.

    Raises:
        UsageError: The nodes run different things, two have the same rank, or node 0 cannot listen.
        BenchmarkError: Not all nodes arrived in time.
    """
    host, port = place
    written = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    wait = _Wait(written, seconds, time.monotonic() + seconds, quiet, say)
    if node.rank == 0:
        _Host(node, place, wait).run()
    else:
        _join(node, place, wait)


@dataclass(slots=True)
class _Guest:
    """A connection to node 0.

    Attributes:
        is_probe: Whether it is node 0's own, to the rendezvous address.
        received: Data received so far.
        node: The node that connected, once known.
    """

    connection: socket.socket
    is_probe: bool = False
    received: bytes = b""
    node: Node | None = None


class _Host:
    """Node 0, which coordinates the rendezvous."""

    def __init__(self, node: Node, place: tuple[str, int], wait: _Wait) -> None:
        self._node, self._place, self._wait = node, place, wait
        self._token = secrets.token_hex(8)
        self._guests: dict[int, _Guest] = {}  # nodes that have arrived, by rank
        self._selector = selectors.DefaultSelector()
        self._said = ""

    def run(self) -> None:
        with self._selector, _listener(self._place[1]) as listener:
            self._listener = listener
            self._selector.register(listener, selectors.EVENT_READ)
            try:
                self._detect_another_host()
                self._wait_for_all()
                # Before the others continue, so that they cannot mistake this port for torchrun's.
                self._selector.unregister(listener)
                listener.close()
                self._send_all({"go": True})
            finally:
                for key in list(self._selector.get_map().values()):
                    if isinstance(key.data, _Guest):
                        key.data.connection.close()

    def _missing(self) -> list[int]:
        return [rank for rank in range(1, self._node.count) if rank not in self._guests]

    def _wait_for_all(self) -> None:
        while missing := self._missing():
            whom = _ranks(missing)
            if self._wait.left == 0:
                self._reject_all(self._wait.end(whom), BenchmarkError)
            if self._wait.is_worth_saying and whom != self._said:
                self._said = whom
                self._wait.say(self._wait.describe(whom))
            for key, _ in self._selector.select(min(_PAUSE, self._wait.left)):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)

    def _detect_another_host(self) -> None:
        """Detect another node 0 at this address by its error message. Our own answer, or none, means nothing."""
        with suppress(OSError):
            probe = socket.create_connection(self._place, timeout=min(2.0, self._wait.seconds))
            probe.sendall(self._node.greeting(self._token))
            self._register(probe, is_probe=True)

    def _accept(self) -> None:
        with suppress(OSError):  # it has disconnected
            connection, _ = self._listener.accept()
            self._register(connection)

    def _register(self, connection: socket.socket, *, is_probe: bool = False) -> None:
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, _Guest(connection, is_probe))

    def _read(self, guest: _Guest) -> None:
        try:
            data = guest.connection.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        guest.received += data
        if not data or len(guest.received) > _LONGEST:
            self._drop(guest)
        elif guest.node is None and b"\n" in guest.received:
            self._greet(guest, _message(guest.received))

    def _drop(self, guest: _Guest) -> None:
        self._selector.unregister(guest.connection)
        guest.connection.close()
        if guest.node is not None:
            del self._guests[guest.node.rank]
            self._said = ""
            self._wait.say(f"{guest.node.describe()} disconnected")

    def _greet(self, guest: _Guest, said: dict[str, Any]) -> None:
        if guest.is_probe and isinstance(said.get("error"), str):
            raise UsageError(_printable(said["error"]))
        node = _node(said)
        if node is None or said.get("token") == self._token:
            self._drop(guest)
        elif node.rank == 0 or node.rank in self._guests:
            first = self._node if node.rank == 0 else self._guests[node.rank].node or self._node
            _send(
                guest.connection,
                {"error": f"{first.describe()} is already connected: set a different exp.node_rank for each node"},
            )
            self._drop(guest)
        else:
            guest.node = node
            self._guests[node.rank] = guest
            difference = _difference(self._node, node)
            if difference:
                self._reject_all(difference, UsageError)
            if self._said:
                self._wait.say(f"{node.describe()} connected")
            _send(guest.connection, {"left": self._wait.left, "missing": self._missing()})

    def _send_all(self, message: dict[str, Any]) -> None:
        for guest in self._guests.values():
            _send(guest.connection, message)

    def _reject_all(self, error: str, kind: type[BenchmarkError]) -> NoReturn:
        self._send_all({"error": error, "usage": kind is UsageError})
        raise kind(error)


def _join(node: Node, place: tuple[str, int], wait: _Wait) -> None:
    said = False
    pause = _FIRST_PAUSE
    while True:
        if wait.left == 0:
            raise BenchmarkError(wait.end("node 0"))
        if not said and wait.is_worth_saying:
            said = True
            wait.say(wait.describe("node 0"))
        try:
            with socket.create_connection(place, timeout=min(_PATIENCE, max(0.1, wait.left))) as connection:
                connection.sendall(node.greeting())
                if _answered(connection, wait):
                    return
        except OSError:
            pass  # not started yet, or disconnected
        time.sleep(min(pause, wait.left))
        pause = min(2 * pause, _PAUSE)


def _answered(connection: socket.socket, wait: _Wait) -> bool:
    """Whether node 0 reports that all nodes have arrived; False if it disconnected.

    Raises:
        BenchmarkError: Node 0 reports why they cannot continue.
    """
    received = b""
    until = time.monotonic() + min(_PATIENCE, wait.left)  # another program on this port may never answer
    while True:
        connection.settimeout(max(0.1, until - time.monotonic()))
        data = connection.recv(_LONGEST)  # a timeout is an OSError
        received += data
        if not data or len(received) > _LONGEST:
            return False
        while b"\n" in received:
            line, _, received = received.partition(b"\n")
            said = _message(line)
            if said.get("go") is True:
                return True
            if isinstance(said.get("error"), str):
                raise (UsageError if said.get("usage", True) else BenchmarkError)(_printable(said["error"]))
            left, missing = said.get("left"), said.get("missing")
            if isinstance(left, int | float) and isinstance(missing, list):
                until = time.monotonic() + left + _LATE
                if missing:
                    wait.say(_Wait(wait.place, wait.seconds, until - _LATE, 0, wait.say).describe(_ranks(missing)))


def _listener(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both, backlog=1024
        )
    except OSError as error:
        what = f"node 0 cannot listen on port {port} of this machine: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            what += (
                ": use another port (exp.rendezvous), or set this node's own exp.node_rank if node 0 already runs here"
            )
        raise UsageError(what) from None


def _difference(first: Node, other: Node) -> str:
    """Differences between two nodes, as text; empty if there are none."""
    values = {"number of nodes": (str(first.count), str(other.count))}
    values |= {name: (value, other.facts.get(name, "none")) for name, value in first.facts.items()}
    found = [
        f"{name} {one} on {first.describe()}, {two} on {other.describe()}"
        for name, (one, two) in values.items()
        if one != two
    ]
    return f"the nodes differ: {'; '.join(found)}" if found else ""


def _ranks(ranks: list[int]) -> str:
    shown = ", ".join(str(rank) for rank in ranks[:16]) + (", …" if len(ranks) > 16 else "")
    return f"node {shown}" if len(ranks) == 1 else f"nodes {shown}"


def _node(said: dict[str, Any]) -> Node | None:
    rank, count, name, facts = (said.get(key) for key in ("rank", "count", "name", "facts"))
    if (
        not isinstance(rank, int)
        or not isinstance(count, int)
        or not isinstance(name, str)
        or not isinstance(facts, dict)
    ):
        return None
    return (
        Node(rank, count, _printable(name), {_printable(key): _printable(value) for key, value in facts.items()})
        if rank >= 0
        else None
    )


def _printable(value: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(value)[:1000])


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):  # it has disconnected, which the next read detects
        connection.sendall(_line(message))


def _message(line: bytes) -> dict[str, Any]:
    """Parse a message; empty if it is not one of this protocol."""
    try:
        said = json.loads(line.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
