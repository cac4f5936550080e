"""Machines that ssh reaches: network namespaces of this machine, joined by a bridge, each with an sshd, host key and address of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from pathlib import Path

import psutil

from tests.waiting import wait_until

__all__ = ["NODES", "Nodes"]

NODES = ("alpha", "beta")

_SSHD = """\
ListenAddress {address}
HostKey {directory}/{name}
AuthorizedKeysFile {directory}/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
"""

_CONFIG = """\
Host {name}
    HostName {address}
    User root
    IdentityFile {directory}/user
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
"""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _key(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)


class Nodes:
    """Two nodes, `alpha` and `beta`. The bridge is in a namespace too, where no rule of a firewall of this machine applies.

    Args:
        directory: For keys and configuration.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config"
        self.network = f"198.18.{os.getpid() % 250}"
        self._mark = f"d{os.getpid()}"
        self._sshd: dict[str, subprocess.Popen[bytes]] = {}

    def namespace(self, name: str) -> str:
        return f"{self._mark}-{name}"

    @property
    def environment(self) -> dict[str, str]:
        """Of a `dlbs` that is to reach the nodes."""
        return {"DLBS_SSH": shlex.join(["ssh", "-F", str(self.config)])}

    def start(self) -> None:
        switch = self.namespace("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for name in NODES:
            _ip("netns", "add", self.namespace(name))
            _ip("-n", self.namespace(name), "link", "set", "lo", "up")
        for number, name in enumerate(("", *NODES), 1):
            inside = ["-n", self.namespace(name)] if name else []
            device = "lan" if name else self._mark
            where = ["netns", self.namespace(name)] if name else []
            _ip("link", "add", device, *where, "type", "veth", "peer", "name", f"port{number}", "netns", switch)
            _ip("-n", switch, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip(*inside, "address", "add", f"{self.network}.{number}/24", "dev", device)
            _ip(*inside, "link", "set", device, "up")
        _key(self.directory / "user")
        Path("/run/sshd").mkdir(exist_ok=True)
        known, config = "", ""
        for number, name in enumerate(NODES, 2):
            values = {"name": name, "address": f"{self.network}.{number}", "directory": self.directory}
            _key(self.directory / name)
            known += f"{values['address']} {(self.directory / f'{name}.pub').read_text()}"
            config += _CONFIG.format(**values)
            file = self.directory / f"{name}.sshd"
            file.write_text(_SSHD.format(**values))
            command = ["ip", "netns", "exec", self.namespace(name), "/usr/sbin/sshd", "-D", "-e", "-f", str(file)]
            self._sshd[name] = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        (self.directory / "known_hosts").write_text(known)
        self.config.write_text(config)
        for name in NODES:
            wait_until(lambda name=name: not subprocess.run(self.ssh(name, "true"), check=False).returncode)  # type: ignore[misc]

    def ssh(self, name: str, *command: str) -> list[str]:
        return ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", name, *command]

    def cut(self, name: str) -> None:
        """Pull the network cable of a node."""
        _ip("-n", self.namespace(name), "link", "set", "lan", "down")

    def join(self, name: str) -> None:
        """Put it back."""
        _ip("-n", self.namespace(name), "link", "set", "lan", "up")

    def kill_connections(self, name: str) -> None:
        """End the sessions of a node's sshd as if by a crash, and nothing that runs in them."""
        for session in psutil.Process(self._sshd[name].pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                session.kill()

    def stop(self) -> None:
        for name, sshd in self._sshd.items():
            self.kill_connections(name)
            sshd.kill()
            sshd.wait()
        for name in ("switch", *NODES):
            subprocess.run(["ip", "netns", "delete", self.namespace(name)], check=False)
