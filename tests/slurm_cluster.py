"""A real Slurm for tests: one machine, started here as root; `.ci/services` installs its packages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.waiting import PATIENCE, has_ended, wait_until

__all__ = ["HOST", "Cluster"]

HOST = os.uname().nodename.split(".")[0]
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ReturnToService=2
MessageTimeout=100
KillWait=5
MaxArraySize=16
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""


class Cluster:
    """A Slurm in a directory, with a slurmd on this machine for each of its nodes.

    Args:
        directory: Empty.
        nodes: Their names. The first one, also in the order of the alphabet, must be this machine's: torchruns meet there.
    """

    def __init__(self, directory: Path, nodes: tuple[str, ...]) -> None:
        self.directory, self.nodes = directory, nodes
        port, *ports = free_ports(1 + len(nodes))
        for name in ("state", *(f"spool-{node}" for node in nodes)):
            (directory / name).mkdir()
        gpus = []
        for number in range(2):  # a device file is all that Slurm wants of a GPU
            device = directory / f"nvidia{number}"
            subprocess.run(["mknod", str(device), "c", "1", "3"], check=True)
            gpus.append(f"Name=gpu File={device}")
        lines = [
            f"NodeName={node} NodeHostname={HOST} NodeAddr=127.0.0.1 Port={ports[number]} "
            f"CPUs={os.cpu_count()} RealMemory=1000 Gres=gpu:2 State=UNKNOWN"
            for number, node in enumerate(nodes)
        ]
        conf = CONF.format(host=HOST, directory=directory, port=port, nodes="\n".join(lines))
        (directory / "slurm.conf").write_text(conf)
        (directory / "gres.conf").write_text("\n".join(gpus) + "\n")
        (directory / "cgroup.conf").write_text("")
        self.environment = {"SLURM_CONF": str(directory / "slurm.conf")}

    def start(self) -> None:
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "0755", "/run/munge"], check=True)
            daemon = ["setpriv", "--reuid", "munge", "--regid", "munge", "--clear-groups", "munged"]
            subprocess.run([*daemon, "--pid-file=/run/munge/munged.pid"], check=True, capture_output=True)
        self.command("slurmctld")
        for node in self.nodes:
            self.command("slurmd", "-N", node)
        wait_until(lambda: self.command("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * len(self.nodes))

    def command(self, *words: str, check: bool = True) -> str:
        environment = {**os.environ, **self.environment}
        # A daemon that a test restarts serves the next tests, too: it is not a process that this test left running.
        environment.pop("PYTEST_CURRENT_TEST", None)
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, check=check, timeout=PATIENCE
        ).stdout

    def end(self, daemon: str) -> None:
        pid = int((self.directory / f"{daemon}.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: has_ended(pid))

    def stop(self) -> None:
        self.command("scancel", "--user", "root", check=False)
        for daemon in (*(f"slurmd-{node}" for node in self.nodes), "slurmctld"):
            self.end(daemon)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
