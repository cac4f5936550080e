"""Run experiments on other machines by ssh: launchers on all nodes of `exp.nodes` at the same time, one log.

`ssh_session` runs the nodes of one experiment; here, that session is the process of an ordinary job. Before, nodes are asked for their
facts: they need only bash, and scripts arrive on the standard input of ssh, so that the user's login shell parses nothing.
"""

from __future__ import annotations

import ipaddress
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import IO, NamedTuple

from dlbs.core.errors import DlbsError, InfrastructureError, LaunchError
from dlbs.core.experiment import Check, Experiment, Problem, Site
from dlbs.core.files import JsonError, load_json
from dlbs.core.text import text
from dlbs.executors.base import Outcome
from dlbs.executors.detached import task_environment
from dlbs.executors.job import Elsewhere, Grant, Job
from dlbs.executors.local import LocalExecutor, Slots
from dlbs.executors.ssh_session import Order, ssh_command
from dlbs.launch.script import make_launcher

_PATIENCE = 60.0  # seconds that a node has to respond
_LONGEST_ANSWER = 1 << 20  # bytes
_LONGEST_REASON = 1000  # characters
_PORTS = range(20_000, 32_000)  # below the range of ephemeral ports
_WITH_TORCH = ("pytorch", "train")

# Settings that apply only to the machine that dlbs runs on → the alternative.
_OF_THIS_MACHINE = {
    "runtime.cpus": "bind processes with -Pruntime.launcher='taskset --cpu-list 0-3'",
    "runtime.memory": "it divides the memory of this machine; remove it",
    "monitor.interval": "the monitor samples this machine only; set it to 0",
    "exp.sys_info": "leave it empty; `ssh HOST dlbs sysinfo` prints the facts of a node",
}

# Prints the facts of a node: one JSON line. Versions are read from metadata, since importing torch takes seconds.
_ASK = """\
import hashlib, importlib.metadata, json, pathlib, platform, sys
try:
    torch = importlib.metadata.version("torch")
except importlib.metadata.PackageNotFoundError:
    torch = ""
digest = hashlib.sha256()
packages = [pathlib.Path(sys.argv[1], name) for name in ("benchmark_core", "pytorch_benchmarks")]
files = [file for package in packages for file in sorted(package.rglob("*.py"))]
for file in files:
    digest.update(file.read_bytes())
print(json.dumps({"python": platform.python_version(), "torch": torch, "program": digest.hexdigest()[:12] if packages[-1].is_dir() else ""}))
"""


def _nodes_of(experiment: Experiment) -> list[str]:
    return re.findall(r"[^,\s]+", text(experiment.get("exp.nodes")))


def _nodes(experiment: Experiment, site: Site) -> Problem | None:
    nodes, count = _nodes_of(experiment), experiment.get("exp.num_nodes", 1)
    if not nodes:
        return Problem("exp.nodes names no hosts", "set --nodes host1,host2")
    if len(set(nodes)) < len(nodes):
        return Problem(
            f"exp.nodes names a host twice: {', '.join(nodes)}",
            "name each host once; exp.gpus sets the replicas per node",
        )
    if count != len(nodes):
        return Problem(f"exp.num_nodes is {count}, but exp.nodes names {len(nodes)}", "remove exp.num_nodes")
    return None


def _settings(experiment: Experiment, site: Site) -> Problem | None:
    if experiment.get("exp.docker"):
        return Problem("containers cannot run on other machines", "set -Pexp.docker=false")
    if text(experiment.get("exp.gpus")).startswith("any:"):
        return Problem("free GPUs of other machines are unknown", "set GPU numbers: -Pexp.gpus=0,1")
    if experiment.get("exp.framework") == "pack":
        return Problem("packs run on this machine only", "remove --nodes")
    for name, hint in _OF_THIS_MACHINE.items():
        if text(experiment.get(name)) not in {"", "0", "0.0"}:
            return Problem(f"{name} does not apply to experiments on other machines", hint)
    return None


def _reached(experiment: Experiment, site: Site) -> Problem | None:
    """Check that nodes respond and have the requirements. Only plans about to run may contact hosts, or hosts that the user typed."""
    nodes = _nodes_of(experiment)
    if not site.may_run:
        nodes = [node for node in nodes if node in site.nodes]
    facts, failures = _query_all(nodes, experiment, site.directory, versions=site.may_run)
    if failures:
        return Problem("; ".join(error.what for error in failures), failures[0].hint)
    for name, title in (("python", "Python"), ("torch", "PyTorch"), ("program", "pytorch_benchmarks")):
        found = {node: getattr(fact, name) for node, fact in zip(nodes, facts, strict=True)}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{node} {version}" for node, version in found.items())
            return Problem(
                f"nodes differ in {title}: {listed}",
                "install the same version on all nodes, or copy the directory again",
            )
    return None


class SshExecutor(LocalExecutor):
    """Run one experiment at a time on all of its nodes.

    Args:
        directory: Where experiments run, on each node; a shared or copied directory.
        jobs: 1 or None.
    """

    checks = (
        Check(("exp.nodes", "exp.num_nodes"), _nodes),
        Check(("exp.docker", "exp.gpus", "exp.framework", *_OF_THIS_MACHINE), _settings),
        Check(("exp.nodes", "exp.framework", "runtime.python", "pytorch.bench_path"), _reached),
    )

    def __init__(self, directory: Path, jobs: int | None = None) -> None:
        super().__init__(directory, jobs, slots=Slots(gpus=(), cpus=(), memory=0))
        self._given: Experiment = {}  # that runs, without what `start` added

    def prepare(self) -> None:
        if self.jobs > 1:
            what = "experiments on several machines run one at a time"
            raise LaunchError(what, where=f"--jobs {self.jobs}", hint="remove --jobs")

    def start(self, experiment: Experiment) -> bool:
        if not self.has_room:
            return False
        nodes, site = _nodes_of(experiment), Site(self.directory, may_run=True)
        for find in (_nodes, _settings):
            problem = find(experiment, site)
            if problem is not None:
                raise LaunchError(problem.what, hint=problem.hint)
        facts, failures = _query_all(nodes, experiment, self.directory, versions=True)
        if failures:
            raise InfrastructureError(failures[0].what, hint=failures[0].hint)
        placed = {**experiment, "exp.node_id": ",".join(fact.name for fact in facts)}
        if len(nodes) > 1 and not experiment.get("exp.rendezvous"):
            placed["exp.rendezvous"] = _rendezvous(nodes, facts)
        launchers = [make_launcher({**placed, "exp.node_rank": rank}, self.directory) for rank in range(len(nodes))]
        order = Order(nodes, [one.source for one in launchers], float(experiment.get("exp.node_timeout") or 30))
        session = Elsewhere([sys.executable, "-m", "dlbs.executors.ssh_session"], task_environment(), order.line())
        self._jobs.append(Job(launchers[0], Grant(), grace=self.grace, elsewhere=session))
        self._given = experiment
        return True

    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        for _, outcome in super().look():
            yield self._given, outcome  # without this rendezvous, whose port another attempt must not inherit


def _rendezvous(nodes: Sequence[str], facts: Sequence[Facts]) -> str:
    """The rendezvous of nodes: the address at which ssh reached the first one, with a port."""
    loopback = [_is_loopback(fact.address) for fact in facts]
    if not facts[0].address or (loopback[0] and not all(loopback)):
        what = f"the other nodes cannot reach {nodes[0]} at {facts[0].address or 'an unknown address'}"
        raise LaunchError(what, hint="set exp.rendezvous to HOST:PORT, with an address of the first node")
    address = f"[{facts[0].address}]" if ":" in facts[0].address else facts[0].address
    return f"{address}:{random.choice(_PORTS)}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _query_all(
    nodes: Sequence[str], experiment: Experiment, directory: Path, *, versions: bool
) -> tuple[list[Facts], list[DlbsError]]:
    """Query all nodes concurrently: the facts of those that respond, and the errors of the rest."""
    details: list[str] = []
    if versions and experiment.get("exp.framework") in _WITH_TORCH:
        details = [text(experiment.get("runtime.python")), text(experiment.get("pytorch.bench_path"))]

    def one(node: str) -> Facts | DlbsError:
        try:
            return ask(node, str(directory), *details)
        except DlbsError as error:
            return error

    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(one, nodes))
    return [one for one in answers if isinstance(one, Facts)], [one for one in answers if isinstance(one, DlbsError)]


class Facts(NamedTuple):
    """The facts that a node reported about itself.

    Attributes:
        address: At which ssh reached it.
        name: Its own host name.
        python, torch: Versions; empty if not queried.
        program: Digest of its benchmark_core and pytorch_benchmarks.
    """

    address: str
    name: str
    python: str = ""
    torch: str = ""
    program: str = ""


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
        raise LaunchError(what, hint=_quiet(host))
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
    if not completed.returncode and len(lines) < 2:
        raise LaunchError(f"node {host} did not run bash, or printed something else before", hint=_quiet(host))
    if completed.returncode:
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
        raise LaunchError(f"node {host} did not report the versions of {python}", hint=_quiet(host))
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


def _quiet(host: str) -> str:
    return f"its login shell may print text: run `ssh {host} true`, which must print nothing"


def _hint(host: str, output: str) -> str:
    if "Host key verification" in output:
        return f"log in once to accept its key: ssh {host}"
    if "Permission denied" in output:
        return "add your key to authorized_keys there; keys with a passphrase need ssh-agent"
    return f"check the connection: ssh {host} true"
