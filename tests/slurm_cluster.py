"""A real Slurm for tests: one machine, started here as root; `.ci/services` installs its packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil

from tests.experiments import wait_for

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
WHY_NOT = f"not installed: {', '.join(MISSING)}" if MISSING else "starting Slurm takes root" if os.geteuid() else ""

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
        port: Of the controller; the nodes' follow.
    """

    def __init__(self, directory: Path, nodes: tuple[str, ...], port: int) -> None:
        self.directory, self.nodes = directory, nodes
        for name in ("state", *(f"spool-{node}" for node in nodes)):
            (directory / name).mkdir()
        gpus = []
        for number in range(2):  # a device file is all that Slurm wants of a GPU
            device = directory / f"nvidia{number}"
            subprocess.run(["mknod", str(device), "c", "1", "3"], check=True)
            gpus.append(f"Name=gpu File={device}")
        lines = [
            f"NodeName={node} NodeHostname={HOST} NodeAddr=127.0.0.1 Port={port + 1 + number} "
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
        wait_for(lambda: self.command("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * len(self.nodes))

    def command(self, *words: str) -> str:
        environment = {**os.environ, **self.environment}
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60).stdout

    def end(self, daemon: str) -> None:
        pid = int((self.directory / f"{daemon}.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")

    def stop(self) -> None:
        self.command("scancel", "--user", "root")
        for daemon in (*(f"slurmd-{node}" for node in self.nodes), "slurmctld"):
            self.end(daemon)
