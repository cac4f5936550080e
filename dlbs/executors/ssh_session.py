"""One experiment on several nodes: a launcher on each by ssh, their merged output, and a common end.

    python -m dlbs.executors.ssh_session

reads one JSON line (`Order`) from standard input and prints the output of the nodes: lines of the first node unchanged, those of the
others as `[HOST] ...`, so that only the first one reports results. A node that fails or is lost ends the others. So does the end of standard
input, which `dlbs run` keeps open: it is closed however that process ends, `kill -9` included.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from benchmark_core.crash import guarded
from benchmark_core.exits import OK, SIGNALLED, SKIPPED, UNAVAILABLE
from benchmark_core.log import key_line
from dlbs.core.errors import LaunchError, LogError
from dlbs.core.files import write_all
from dlbs.core.logs import parse_line

GRACE = 5  # seconds between TERM and KILL of a launcher on a node
_CONNECT = 10  # seconds
_LOGIN = 60.0  # seconds until the first keep-alive message is answered
_SETTLE = 3.0  # seconds in which other nodes may fail too, so that all reasons are reported
_LONGEST_LINE = 16 << 20  # bytes; longer ones are divided
_LONGEST_REASON = 1000  # characters
_SILENCE = "it got no heartbeat, because dlbs was paused, this machine slept, or the network failed"
_UNANSWERED = 4  # keep-alive messages after which a connection counts as lost, though it was not closed
_LONGEST_END = GRACE + 3.0  # seconds until remaining connections are cut

# A shell function that runs a launcher, and ends everything it started when the connection is lost: standard input ends, or no line
# arrives in time. Its start and each line are answered on standard error. TERM goes to the process group, so that torchrun ends its
# workers; processes left in other sessions are found by a variable in their environment (on Linux).
_WATCH = """\
dlbs_kill() {
    local number
    kill -KILL -- "-$group"
    for number in $(grep -slz "^DLBS_NODE=$token\\$" /proc/[0-9]*/environ | tr -dc '0-9\\n'); do kill -KILL "$number"; done
}
dlbs_watch() {
    local grace=$1 patience=$2 token=$3 source=$4 group reader code left
    trap : HUP INT PIPE TERM
    set -m
    DLBS_NODE=$token bash /dev/fd/3 3<<<"$source" </dev/null 2>&1 &
    group=$!
    {
        echo "$token" >&2
        while kill -0 $$ && IFS= read -r -t "$patience" _; do echo "$token" >&2; done
        kill -0 $$ || dlbs_kill
    } <&0 >/dev/null &
    reader=$!
    set +m
    wait -n "$group" "$reader"
    code=$?
    if kill -0 "$group" 2>/dev/null; then code=lost; fi
    exec 2>/dev/null
    kill -TERM -- "-$group"
    for ((left = 5 * grace; left > 0; left--)); do
        kill -0 -- "-$group" || break
        sleep 0.2
    done
    dlbs_kill
    kill "$reader"
    printf '%s:%s\\n' "$token" "$code"
    exit
}
"""


@dataclass(frozen=True, slots=True)
class Order:
    """The work of a session.

    Attributes:
        hosts: Host names that ssh accepts; the first one reports results.
        launchers: Shell code, one for each host.
        patience: Seconds without a keep-alive after which a node counts as lost.
    """

    hosts: list[str]
    launchers: list[str]
    patience: float

    def line(self) -> str:
        """The line that the session reads."""
        return json.dumps(asdict(self)) + "\n"


def ssh_command(host: str, patience: float) -> list[str]:
    """The command that runs bash on a node. `DLBS_SSH` replaces `ssh`, as `GIT_SSH_COMMAND` does.

    Args:
        host: A host name that ssh accepts.
        patience: Seconds without a keep-alive after which the node counts as lost.

    Raises:
        LaunchError: The host name is invalid, or DLBS_SSH is malformed.
    """
    if not host or host.startswith("-") or not host.isprintable() or " " in host:
        raise LaunchError(f"{host!r} is not a host name", where="exp.nodes")
    try:
        program = shlex.split(os.environ.get("DLBS_SSH", "")) or ["ssh"]
    except ValueError as error:
        raise LaunchError(f"is malformed: {error}", where="DLBS_SSH") from None
    # No shared connection (ControlPath): it would outlive this one and hide the loss of the node. Extras of a user's
    # configuration for logins (a command, forwarded ports) are disabled.
    settings = {
        "BatchMode": "yes",
        "ConnectTimeout": _CONNECT,
        "ServerAliveInterval": max(1, int(patience / 3)),
        "ServerAliveCountMax": 3,
        "ControlPath": "none",
        "RemoteCommand": "none",
        "ClearAllForwardings": "yes",
    }
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return [*program, "-T", "-a", "-x", *words, "--", host, "exec bash -s"]


def watched(source: str, token: str, patience: float) -> str:
    """Shell code that runs a launcher on a node, and prints `TOKEN:CODE` after all its processes have ended.

    The caller must keep sending lines, at most `patience` seconds apart; otherwise the launcher is ended, and the code is `lost`.
    """
    return f"{_WATCH}dlbs_watch {GRACE} {patience:g} {token} {shlex.quote(source)}\n"


@dataclass(slots=True)
class _Node:
    """A node and its state.

    Attributes:
        code: Exit code of its launcher; None until known.
        begun: Whether its launcher has printed the parameters, which appear in the log once.
        lost: The reason that its connection ended before its launcher; empty if it did not.
        status_msg: The reason that its program logged for a failure.
        unanswered: Number of keep-alive messages since the last answer.
    """

    host: str
    prefix: bytes
    token: str = field(default_factory=lambda: f"dlbs-{secrets.token_hex(8)}")
    process: asyncio.subprocess.Process | None = None
    code: int | None = None
    begun: bool = False
    lost: str = ""
    status_msg: str = ""
    unanswered: int = 0

    @property
    def well(self) -> bool:
        return self.code == OK

    def reason(self) -> str:
        return f"node {self.host}: {self.lost or self.status_msg or f'exit code {self.code}'}"

    def close(self) -> None:
        """Tell it to end by sending no more keep-alive messages."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def cut(self) -> None:
        """End the connection."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # it may have children that hold its output open


class _Session:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.nodes = [_Node(host, f"[{host}] ".encode() if rank else b"") for rank, host in enumerate(order.hosts)]
        self.told_to_end = asyncio.Event()

    async def run(self, standard_input: asyncio.StreamReader) -> int:
        """Run to the end of all nodes, and return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.told_to_end.set)
        aside = [asyncio.create_task(work) for work in (self._until_closed(standard_input), self._keep_alive())]
        stop = asyncio.create_task(self.told_to_end.wait())
        running = {
            asyncio.create_task(self._follow(node, launcher)): node
            for node, launcher in zip(self.nodes, self.order.launchers, strict=True)
        }
        following, failed = list(running), list[_Node]()
        while running and not failed and not stop.done():
            await asyncio.wait([*running, stop], return_when=asyncio.FIRST_COMPLETED)
            failed = _ended(running)
        if failed and running and not any(node.lost for node in failed):
            await asyncio.wait(running, timeout=_SETTLE)
            failed += _ended(running)
        for node in running.values():
            node.close()
        if running:
            _, late = await asyncio.wait(running, timeout=_LONGEST_END)
            for cut in late:
                running[cut].cut()
            await asyncio.wait(running)
        for task in [*aside, stop]:
            task.cancel()
        for one in following:
            one.result()  # raises unexpected errors
        return self._exit_code(failed)

    def _exit_code(self, failed: list[_Node]) -> int:
        if self.told_to_end.is_set():
            return SIGNALLED + signal.SIGTERM
        if not failed:
            return OK
        codes = {node.code for node in failed}
        write_all(1, f"{key_line('exp.status_msg', '; '.join(node.reason() for node in failed))}\n".encode())
        if any(node.lost for node in failed):
            return UNAVAILABLE
        return SKIPPED if codes == {SKIPPED} else next((code for code in codes if code and code != SKIPPED), 1)

    async def _until_closed(self, standard_input: asyncio.StreamReader) -> None:
        while await standard_input.read(4096):
            continue
        self.told_to_end.set()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self.order.patience / 3)
            for node in self.nodes:
                if node.process is not None and node.process.stdin is not None and not node.process.stdin.is_closing():
                    node.process.stdin.write(b"\n")
                    node.unanswered += 1
                    if (
                        node.unanswered > _UNANSWERED and node.code is None
                    ):  # its ssh, or the shell on the node, is stopped or hangs
                        node.lost = f"{_UNANSWERED} heartbeats were not answered (exp.node_timeout)"
                        node.cut()

    async def _follow(self, node: _Node, launcher: str) -> None:
        """Run a launcher on a node, and forward its output."""
        try:
            # A separate session: ending this process group must not cut the connection before the node has cleaned up.
            node.process = process = await asyncio.create_subprocess_exec(
                *ssh_command(node.host, self.order.patience),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        except (OSError, LaunchError) as error:
            node.lost = str(error)
            return
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        node.unanswered = -int(3 * _LOGIN / self.order.patience)
        # A keep-alive may be due when a pause begins, so a pause of `patience` may be the longer silence.
        silence = self.order.patience * 4 / 3
        process.stdin.write(watched(launcher, node.token, silence).encode("utf-8", "surrogateescape"))
        last, _ = await asyncio.gather(_ssh_messages(node, process.stderr), self._output(node, process.stdout))
        code = await process.wait()
        if node.code is None and not node.lost:
            what = "connection lost" if code in {255, -signal.SIGKILL} else f"ssh ended with exit code {code}"
            node.lost = f"{what}{f' ({last})' if last else ''}"

    async def _output(self, node: _Node, stream: asyncio.StreamReader) -> None:
        async for lines in _lines(stream):
            self._pass_on(node, lines)

    def _pass_on(self, node: _Node, lines: Iterable[bytes]) -> None:
        shown = []
        for line in lines:
            if line == node.token.encode():  # an ssh whose standard error is not apart
                node.unanswered = 0
                continue
            before, token, code = line.rpartition(f"{node.token}:".encode())
            if token and (code == b"lost" or (code.isdigit() and len(code) <= 3)):
                node.lost = (
                    f"{_SILENCE}: more than {self.order.patience:g} s (exp.node_timeout)" if code == b"lost" else ""
                )
                node.code = SIGNALLED + signal.SIGTERM if node.lost else int(code)
                if not before:
                    continue
                line = before
            try:
                found = parse_line(line.decode("utf-8", "replace"))
            except LogError:  # forwarded unchanged; readers of the log report the error
                found = None
            if found and found[0] == "exp.status_msg" and node.begun:
                node.status_msg = str(found[1])
            node.begun |= found is not None and found[0] == "exp.start_time"
            if node.prefix and found and not node.begun:
                continue
            shown.append(node.prefix + line + b"\n")
        write_all(1, b"".join(shown))


async def _ssh_messages(node: _Node, stream: asyncio.StreamReader) -> str:
    """Forward the messages of ssh itself, and return the last line."""
    message = ""
    async for lines in _lines(stream):
        for line in lines:
            if line.decode("utf-8", "replace") == node.token:
                node.unanswered = 0
                continue
            message = line.decode("utf-8", "replace").strip()
            write_all(1, f"[{node.host}] ssh: {message}\n".encode())
    return message[:_LONGEST_REASON]


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[list[bytes]]:
    """The lines of a stream as they arrive, without line ends."""
    rest = bytearray()  # appended to in place: copying it for each block would take quadratic time
    while data := await stream.read(65536):
        *lines, last = data.split(b"\n")
        if lines:
            lines[0] = bytes(rest) + lines[0]
            rest.clear()
        rest += last
        if len(rest) > _LONGEST_LINE:
            lines.append(bytes(rest))
            rest.clear()
        if lines:
            yield lines
    if rest:
        yield [bytes(rest)]


def _ended(running: dict[asyncio.Task[None], _Node]) -> list[_Node]:
    """Remove nodes that have ended, and return those that failed."""
    ended = [running.pop(task) for task in list(running) if task.done()]
    return [node for node in ended if not node.well]


async def _run() -> int:
    reader = asyncio.StreamReader(limit=1 << 30)  # of the line with the order
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    line = await reader.readline()
    return await _Session(Order(**json.loads(line))).run(reader) if line else 1


def main() -> int:
    """Run the order read from standard input, and return the exit code."""
    return asyncio.run(_run())


if __name__ == "__main__":
    sys.exit(guarded(main))
