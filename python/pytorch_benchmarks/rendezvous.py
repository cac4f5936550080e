"""Rendezvous of nodes that are started separately: they wait for each other, reporting the wait, and compare what they run.

torchrun would wait silently. Node 0 is a server; the others connect, identify themselves, and wait for its answer. Messages are JSON lines.
"""

from __future__ import annotations

import asyncio
import errno
import json
import secrets
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.text import printable

__all__ = ["Node", "endpoint", "interface_to", "meet"]

_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface
_TURN = 0.05  # seconds between two looks of node 0 at who is missing
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
        said = {"rank": self.rank, "count": self.count, "name": self.name, "facts": {**self.facts}, "token": token}
        return json.dumps(said).encode() + b"\n"

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
        asyncio.run(_Host(node, place, wait).run())
    else:
        _join(node, place, wait)


class _Host:
    """Node 0, which coordinates the rendezvous: a server, whose connections are the nodes that have arrived."""

    def __init__(self, node: Node, place: tuple[str, int], wait: _Wait) -> None:
        self._node, self._place, self._wait = node, place, wait
        self._token = secrets.token_hex(8)
        self._guests: dict[int, tuple[Node, asyncio.StreamWriter]] = {}  # by rank
        self._difference = self._said = ""

    async def run(self) -> None:
        server = await asyncio.start_server(self._serve, sock=_listener(self._place[1]), limit=_LONGEST, backlog=1024)
        answer: dict[str, Any] = {}
        try:
            await asyncio.to_thread(self._detect_another_host)
            await self._wait_for_all()
            answer = {"go": True}
        except BenchmarkError as error:
            answer = {"error": str(error), "usage": isinstance(error, UsageError)}
            raise
        finally:
            server.close()  # before the others continue, so that they cannot mistake this port for torchrun's
            guests, self._guests = self._guests, {}
            for _, writer in guests.values():
                _send(writer, answer)
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Follow a connection until it ends."""
        node = None
        # It is silent, has disconnected, or says too much; or all have arrived.
        with suppress(asyncio.CancelledError, asyncio.TimeoutError, OSError, ValueError):
            said = _message(await asyncio.wait_for(reader.readline(), _PATIENCE))
            if said.get("token") != self._token and (node := self._welcomed(_node(said), writer)):
                while await reader.read(_LONGEST):  # it says nothing more until it ends
                    continue
        if node is not None and node.rank in self._guests:
            del self._guests[node.rank]
            self._said = ""
            self._wait.say(f"{node.describe()} disconnected")
        writer.close()

    def _welcomed(self, node: Node | None, writer: asyncio.StreamWriter) -> Node | None:
        """Accept a node, and send it who is missing; or send it why it is refused. None if it is refused, or none."""
        if node is None:
            return None
        first = self._node if node.rank == 0 else self._guests.get(node.rank, (None, None))[0]
        if first is not None:
            why = f"{first.describe()} is already connected: set a different exp.node_rank for each node"
            _send(writer, {"error": why})
            return None
        self._guests[node.rank] = node, writer
        self._difference = self._difference or _difference(self._node, node)
        if not self._difference:
            if self._said:
                self._wait.say(f"{node.describe()} connected")
            _send(writer, {"left": self._wait.left, "missing": self._missing()})
        return node

    def _missing(self) -> list[int]:
        return [rank for rank in range(1, self._node.count) if rank not in self._guests]

    async def _wait_for_all(self) -> None:
        while (missing := self._missing()) and not self._difference:
            whom = _ranks(missing)
            if self._wait.left == 0:
                raise BenchmarkError(self._wait.end(whom))
            if self._wait.is_worth_saying and whom != self._said:
                self._said = whom
                self._wait.say(self._wait.describe(whom))
            await asyncio.sleep(min(_TURN, self._wait.left))
        if self._difference:
            raise UsageError(self._difference)

    def _detect_another_host(self) -> None:
        """Detect another node 0 at this address by its error message. Our own answer, or none, means nothing."""
        with suppress(OSError), socket.create_connection(self._place, timeout=min(2.0, self._wait.seconds)) as probe:
            probe.sendall(self._node.greeting(self._token))
            with probe.makefile("rb") as stream:
                said = _message(stream.readline(_LONGEST))
            if isinstance(said.get("error"), str):
                raise UsageError(_printable(said["error"]))


def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    if message:
        writer.write(json.dumps(message).encode() + b"\n")


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
    """Whether node 0 reports that all nodes have arrived; False if it disconnected, or another program answers.

    Raises:
        BenchmarkError: Node 0 reports why they cannot continue.
    """
    with connection.makefile("rb") as stream:
        while True:
            said = _message(stream.readline(_LONGEST))  # a timeout is an OSError: another program may never answer
            if said.get("go") is True:
                return True
            if isinstance(said.get("error"), str):
                raise (UsageError if said.get("usage", True) else BenchmarkError)(_printable(said["error"]))
            left, missing = said.get("left"), said.get("missing")
            if not isinstance(left, int | float) or not isinstance(missing, list):
                return False
            left = min(max(0.0, left), wait.seconds)
            connection.settimeout(left + _LATE)
            if missing:
                theirs = _Wait(wait.place, wait.seconds, time.monotonic() + left, 0, wait.say)
                wait.say(theirs.describe(_ranks(missing)))


def _listener(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)
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
    return printable(str(value)[:1000])


def _message(line: bytes) -> dict[str, Any]:
    """Parse a message; empty if it is not one of this protocol."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def endpoint(text: str) -> tuple[str, int] | None:
    """Host and port of `host:29500` or `[fe80::1]:29500`; None if it is neither."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return (host, int(port)) if host and port.isdigit() and 0 < int(port) < 65536 else None


def interface_to(host: str) -> str:
    """The interface from which this machine reaches `host`; empty if that is the loopback interface or unknown.

    gloo must be given it, or it may listen where no other node can connect.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing
            address = probe.getsockname()[0]
    except OSError:
        return ""
    if address.startswith("127."):
        return ""
    return next((name for _, name in socket.if_nameindex() if _address(name) == address), "")


def _address(interface: str) -> str:
    """The IPv4 address of an interface; empty if it has none."""
    if sys.platform != "linux":
        return ""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            said = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(said[20:24])
