"""The ssh protocol of nodes: the connection command, queries before a run, and the shell code that runs a launcher.

Nodes need only bash. Scripts arrive on the standard input of ssh, so that the user's login shell parses nothing.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread
from typing import IO

from dlbs.errors import LaunchError
from dlbs.jsonio import JsonError, load_json

__all__ = ["GRACE", "Facts", "ask", "ssh_command", "watched"]

GRACE = 5  # seconds between TERM and KILL of a launcher on a node
_PATIENCE = 60.0  # seconds that a node has to respond
_CONNECT = 10  # seconds
_LONGEST_ANSWER = 1 << 20  # bytes
_LONGEST_REASON = 1000  # characters

# A shell function that runs a launcher, and ends everything it started when the connection is lost: standard input ends, or no line
# arrives in time. TERM goes to the process group, so that torchrun ends its workers; processes left in other sessions are found by a
# variable in their environment (on Linux).
_WATCH = """\
dlbs_watch() {
    local grace=$1 patience=$2 token=$3 source=$4 group reader code left number
    trap : HUP INT PIPE TERM
    set -m
    DLBS_NODE=$token bash /dev/fd/3 3<<<"$source" </dev/null 2>&1 &
    group=$!
    { while IFS= read -r -t "$patience" _; do :; done; } <&0 >/dev/null 2>&1 &
    reader=$!
    set +m
    wait -n "$group" "$reader"
    code=$?
    if kill -0 "$group" 2>/dev/null; then code=143; fi
    exec 2>/dev/null
    kill -TERM -- "-$group"
    for ((left = 5 * grace; left > 0; left--)); do
        kill -0 -- "-$group" || break
        sleep 0.2
    done
    kill -KILL -- "-$group"
    for number in $(grep -slz "^DLBS_NODE=$token\\$" /proc/[0-9]*/environ | tr -dc '0-9\\n'); do kill -KILL "$number"; done
    kill "$reader"
    printf '%s:%d\\n' "$token" "$code"
    exit "$code"
}
"""

# Prints the facts of a node: one JSON line. Versions are read from metadata, since importing torch takes seconds.
_ASK = """\
import hashlib, importlib.metadata, json, pathlib, platform, sys
try:
    torch = importlib.metadata.version("torch")
except importlib.metadata.PackageNotFoundError:
    torch = ""
digest = hashlib.sha256()
files = sorted(pathlib.Path(sys.argv[1], "pytorch_benchmarks").rglob("*.py"))
for file in files:
    digest.update(file.read_bytes())
print(json.dumps({"python": platform.python_version(), "torch": torch, "program": digest.hexdigest()[:12] if files else ""}))
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that a node reported about itself.

    Attributes:
        address: At which ssh reached it.
        name: Its own host name.
        python, torch: Versions; empty if not queried.
        program: Digest of its pytorch_benchmarks.
    """

    address: str
    name: str
    python: str = ""
    torch: str = ""
    program: str = ""


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

    The caller must keep sending lines, at most `patience` seconds apart; otherwise the launcher is ended.
    """
    return f"{_WATCH}dlbs_watch {GRACE} {patience:g} {token} {shlex.quote(source)}\n"


@lru_cache(maxsize=1024)  # of successes only: failures are queried again
def ask(host: str, directory: str, python: str = "", package: str = "") -> Facts:
    """Query a node for its address and name and, with the interpreter `python`, for versions.

    Args:
        host: A host name that ssh accepts.
        directory: Has to exist on the node.
        python: An interpreter, by its name or path; empty: none is started.
        package: Directory with pytorch_benchmarks.

    Raises:
        LaunchError: The node cannot be reached, or lacks the directory, the interpreter, or the program.
    """
    script = [
        f"cd -- {shlex.quote(directory)} 2>/dev/null || {{ echo 'dlbs: no directory'; exit; }}",
        'echo "dlbs: $SSH_CONNECTION"; echo "dlbs: $(uname -n)"',
    ]
    if python:
        script.append(f"{shlex.join([python, '-c', _ASK, package])} || echo 'dlbs: no python'")
    command = ssh_command(host, _PATIENCE)
    try:
        completed = _run(command, "\n".join([*script, ""]))
    except OSError as error:
        raise LaunchError(
            f"{command[0]} cannot be started: {error.strerror}", hint="install the OpenSSH client"
        ) from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"node {host} did not respond within {_PATIENCE:.0f} s") from None
    if max(len(completed.stdout), len(completed.stderr)) > _LONGEST_ANSWER:
        what = f"node {host} answered with more than {_LONGEST_ANSWER:,} bytes"
        raise LaunchError(what, hint=f"its login shell may print text: run `ssh {host} true`, which must print nothing")
    return _facts(host, directory, python, package, completed)


def _run(command: list[str], script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command with a script as its input; end it if it prints more than `_LONGEST_ANSWER` bytes, of which one more is returned.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It, or a process that it left behind, did not end within `_PATIENCE`.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    answers: dict[IO[bytes], bytes] = {}

    def read(stream: IO[bytes]) -> None:
        answers[stream] = stream.read(_LONGEST_ANSWER + 1)
        if len(answers[stream]) > _LONGEST_ANSWER:
            process.kill()
        stream.close()  # its children too may print

    # Not waited for after a timeout: a child of the command may keep the streams open.
    readers = [Thread(target=read, args=(stream,), daemon=True) for stream in (process.stdout, process.stderr)]
    end = time.monotonic() + _PATIENCE
    for reader in readers:
        reader.start()
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(script.encode("utf-8", "surrogateescape"))
            process.stdin.close()
        code = process.wait(_PATIENCE)
        for reader in readers:
            reader.join(max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(command, _PATIENCE)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(command, code, answers[process.stdout], answers[process.stderr])


def _facts(
    host: str, directory: str, python: str, package: str, completed: subprocess.CompletedProcess[bytes]
) -> Facts:
    output = completed.stdout.decode(errors="replace")
    messages = completed.stderr.decode(errors="replace").strip().splitlines()
    last = messages[-1].strip()[:_LONGEST_REASON] if messages else ""
    lines = re.findall(r"^dlbs: (.*)$", output, re.MULTILINE)
    if lines == ["no directory"]:
        hint = "share the directory between the nodes, or copy it to the same path"
        raise LaunchError(f"node {host} has no directory {directory}", hint=hint)
    if completed.returncode or len(lines) < 2:
        raise LaunchError(
            f"node {host} cannot be reached: {last or f'exit code {completed.returncode}'}", hint=_hint(host, last)
        )
    facts = Facts((lines[0].split() + [""] * 3)[2], lines[1])
    if not python:
        return facts
    if lines[2:]:
        hint = "set runtime.python to an interpreter that exists on all nodes"
        raise LaunchError(f"node {host} cannot run {python}: {last}", hint=hint)
    found = _versions(output)
    if found is None:
        hint = f"its login shell may print text: run `ssh {host} true`, which must print nothing"
        raise LaunchError(f"node {host} did not report the versions of {python}", hint=hint)
    if not found["torch"]:
        raise LaunchError(f"node {host}: {python} has no torch", hint=f"run `{python} -m pip install torch` there")
    if not found["program"]:
        hint = "share the directory, copy it, or set pytorch.bench_path"
        raise LaunchError(f"node {host} has no {package}/pytorch_benchmarks", hint=hint)
    return Facts(facts.address, facts.name, **found)


def _versions(output: str) -> dict[str, str] | None:
    """The versions that `_ASK` printed on the last line; None if that line is something else."""
    try:
        found = load_json(output.strip().rpartition("\n")[2])
    except JsonError:
        return None
    if not isinstance(found, dict) or set(found) != {"python", "torch", "program"}:
        return None
    return {name: str(value) for name, value in found.items()}


def _hint(host: str, output: str) -> str:
    if "Host key verification" in output:
        return f"log in once to accept its key: ssh {host}"
    if "Permission denied" in output:
        return "add your key to authorized_keys there; keys with a passphrase need ssh-agent"
    return f"check the connection: ssh {host} true"
