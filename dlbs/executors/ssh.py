"""Run experiments on other machines by ssh: launchers on all nodes of `exp.nodes` at the same time, one log.

`ssh_session` runs the nodes of one experiment; here, that session is the process of an ordinary job.
"""

from __future__ import annotations

import ipaddress
import random
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dlbs.errors import DlbsError, LaunchError
from dlbs.executors.base import Check, Outcome, Problem, Site
from dlbs.executors.detached import environment
from dlbs.executors.job import Elsewhere, Job
from dlbs.executors.local import LocalExecutor
from dlbs.executors.slots import Grant, Slots
from dlbs.executors.ssh_commands import Facts, ask
from dlbs.executors.ssh_session import Order
from dlbs.experiment import Experiment
from dlbs.launch.script import make_launcher
from dlbs.text import text

__all__ = ["SshExecutor"]

_PORTS = range(20_000, 32_000)  # below the range of ephemeral ports
_WITH_TORCH = ("pytorch", "train")
# Settings that apply only to the machine that dlbs runs on → the alternative.
_OF_THIS_MACHINE = {
    "runtime.cpus": "bind processes with -Pruntime.launcher='taskset --cpu-list 0-3'",
    "runtime.memory": "it divides the memory of this machine; remove it",
    "monitor.interval": "the monitor samples this machine only; set it to 0",
    "exp.sys_info": "leave it empty; `ssh HOST dlbs sysinfo` prints the facts of a node",
}


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
            raise LaunchError(failures[0].what, hint=failures[0].hint)
        placed = {**experiment, "exp.node_id": ",".join(fact.name for fact in facts)}
        if len(nodes) > 1 and not experiment.get("exp.rendezvous"):
            placed["exp.rendezvous"] = _rendezvous(nodes, facts)
        launchers = [make_launcher({**placed, "exp.node_rank": rank}, self.directory) for rank in range(len(nodes))]
        order = Order(nodes, [one.source for one in launchers], float(experiment.get("exp.node_timeout") or 30))
        session = Elsewhere([sys.executable, "-m", "dlbs.executors.ssh_session"], environment(), order.line())
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
