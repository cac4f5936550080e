"""Nodes whose login shell, environment, sshd, disk or network is broken: real sshds. One reason that names the node, or an ordinary result."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmark_core.exits import UNAVAILABLE
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, start, values
from tests.ssh_nodes import Nodes
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.needs("sshd")

BASH = "exec bash -s"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def through(nodes: Nodes, directory: Path, command: str) -> str:
    """A program in the place of ssh: the node runs `command` instead of the one that dlbs gives, as its login shell could."""
    program = directory / "ssh"
    program.write_text(f'#!/bin/bash\nexec ssh -F {nodes.config} "${{@:1:$#-1}}" {shlex.quote(command)}\n')
    program.chmod(0o755)
    return str(program)


# What a login does before it runs the command, or instead of it: exit code of dlbs → words of the reason.
LOGINS: dict[str, tuple[str, int, str]] = {
    "prints a line": (f"echo hello; {BASH}", 0, ""),
    "prints a line without an end": (f"printf hello; {BASH}", 2, "its login shell may print text"),
    "prints 2 MB": (f"head -c 2000000 /dev/zero; {BASH}", 2, "answered with more than 1,048,576 bytes"),
    "complains": (f"echo oh >&2; {BASH}", 0, ""),
    "complains with 2 MB": (f"head -c 2000000 /dev/zero >&2; {BASH}", 2, "answered with more than 1,048,576 bytes"),
    "prints escape sequences": (f"printf '\\033[2J\\n'; {BASH}", 0, ""),
    "prints a false fact": (f"echo 'dlbs: no directory'; {BASH}", 0, ""),
    "ends well": ("exit 0", 2, "did not run bash"),
    "fails": ("echo This account is not available; exit 1", 2, "cannot be reached"),
    "is no shell": ("exec true", 2, "did not run bash"),
    "reads its input": ("cat >/dev/null", 2, "did not run bash"),
    "has no bash": ("PATH=/nowhere; exec bash -s", 2, "bash"),
    "has no input": (f"{BASH} </dev/null", 2, "did not run bash"),
    "has no output": (f"{BASH} >&-", 2, "cannot be reached"),
    "has no error output": (f"{BASH} 2>&-", 0, ""),
    "takes 5 s": (f"sleep 5; {BASH}", 0, ""),
    "has an empty environment": ('exec env -i "$(command -v bash)" -s', 0, ""),
    "has no HOME": (f"unset HOME; cd /; {BASH}", 0, ""),
    "has another HOME": (f"HOME=/nowhere {BASH[5:]}", 0, ""),
    "has a time limit of input": (f"export TMOUT=1; {BASH}", 0, ""),
    "has BASH_ENV": (f"export BASH_ENV=/etc/passwd; {BASH}", None, ""),
    "has functions": (f"cd() {{ echo no; }}; sleep() {{ :; }}; export -f cd sleep; {BASH}", None, ""),
    "has options": (f"export SHELLOPTS=errexit:nounset; {BASH}", None, ""),
    "is posixly correct": (f"export POSIXLY_CORRECT=1; {BASH}", 0, ""),
    "has IFS": (f"export IFS=0123456789; {BASH}", 0, ""),
    "ignores signals": (f"trap '' HUP INT TERM PIPE; {BASH}", 0, ""),
    "has few descriptors": (f"ulimit -n 12; {BASH}", 0, ""),
    "has no core": (f"umask 777; {BASH}", None, ""),
    "may write no file": (f"ulimit -f 0; {BASH}", 0, ""),
    "has little memory": (f"ulimit -v 20000; {BASH}", 0, ""),
    "has another locale": (f"export LC_ALL=xx_YY.UTF-16; {BASH}", 0, ""),
    "is sh": ("exec sh -c 'exec bash -s'", 0, ""),
    "has another directory": (f"mkdir -p /tmp/d$$; cd /tmp/d$$; rmdir /tmp/d$$; {BASH}", 0, ""),
}


@pytest.mark.parametrize(("command", "code", "reason"), LOGINS.values(), ids=LOGINS)
def test_a_login(nodes: Nodes, dlbs: RunDlbs, tmp_path: Path, command: str, code: int | None, reason: str) -> None:
    ssh = through(nodes, tmp_path, command)
    done = dlbs("run", *DUMMY, "--nodes", "alpha", "-Pexp.node_timeout=2", DLBS_SSH=ssh)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.returncode == code if code is not None else done.returncode in {0, 1, 2, UNAVAILABLE}, done.stderr
    assert reason in done.stderr
    assert code != 0 or values(logs(tmp_path)[0])["exp.status"] == "ok"


# Of the client's configuration: exit code, and words of the reason.
CLIENTS: dict[str, tuple[str, int | None, str]] = {
    "shares connections": ("ControlMaster auto\nControlPath {directory}/shared\nControlPersist 20", 0, ""),
    "reads no input": ("StdinNull yes", 2, "node alpha did not run bash"),
    "goes to the background": ("ForkAfterAuthentication yes", 0, ""),
    "runs another command": ("RemoteCommand false", 0, ""),
    "wants a terminal": ("RequestTTY force", 0, ""),
    "forwards a port": ("LocalForward 1 localhost:1\nExitOnForwardFailure yes", 0, ""),
    "prints much": ("LogLevel DEBUG3", 0, ""),
    "shows keys": ("VisualHostKey yes", 0, ""),
    "runs a local command": ("PermitLocalCommand yes\nLocalCommand echo hello", 0, ""),
    "sends its environment": ("SendEnv *", 0, ""),
    "compresses": ("Compression yes", 0, ""),
    "has a proxy that fails": ("ProxyCommand false", 2, "node alpha cannot be reached"),
    "has a proxy that prints": ("ProxyCommand echo hello", 2, "node alpha cannot be reached"),
    "is another user": ("User nobody", 2, "node alpha cannot be reached: nobody@"),
    "has no key": ("IdentityFile /nowhere", None, ""),
    "accepts any key": ("StrictHostKeyChecking no\nUserKnownHostsFile /dev/null", 0, ""),
    "knows another key": ("UserKnownHostsFile {directory}/wrong", 2, "log in once to accept its key"),
    "has no common cipher": ("Ciphers none-such", 2, "node alpha cannot be reached"),
    "is malformed": ("NoSuchOption 3", 2, "node alpha cannot be reached"),
    "is at another address": ("HostName 198.51.100.1\nConnectTimeout 1", 2, "node alpha cannot be reached"),
    "is at a closed port": ("Port 1", 2, "Connection refused"),
}


@pytest.mark.parametrize(("options", "code", "reason"), CLIENTS.values(), ids=CLIENTS)
def test_a_configuration_of_ssh(
    nodes: Nodes, dlbs: RunDlbs, tmp_path: Path, options: str, code: int | None, reason: str
) -> None:
    (tmp_path / "wrong").write_text(f"{nodes.network}.2 {(nodes.directory / 'user.pub').read_text()}")
    (tmp_path / "config").write_text(options.format(directory=tmp_path) + "\n" + nodes.config.read_text())
    done = dlbs("run", *DUMMY, "--nodes", "alpha", "-Pexp.node_timeout=2", DLBS_SSH=f"ssh -F {tmp_path}/config")
    assert done.returncode == code if code is not None else done.returncode in {0, 1, 2, UNAVAILABLE}, done.stderr
    assert reason in done.stderr
    assert not (tmp_path / "shared").exists()


# Of an sshd: exit code, and words of the reason.
SERVERS: dict[str, tuple[str, int | None, str]] = {
    "allows no session": ("MaxSessions 0", 2, "node alpha cannot be reached"),
    "allows one connection": ("MaxStartups 1", 0, ""),
    "has a banner": ("Banner {directory}/banner", 0, ""),
    "allows files only": ("ForceCommand internal-sftp", 2, "node alpha"),
    "runs another command": ("ForceCommand false", 2, "node alpha cannot be reached"),
    "allows no root": ("PermitRootLogin no", 2, "add your key to authorized_keys"),
    "asks often": ("ClientAliveInterval 1\nClientAliveCountMax 1", 0, ""),
    "changes keys often": ("RekeyLimit 1K", 0, ""),
    "has no common cipher": ("Ciphers 3des-cbc", None, "node alpha cannot be reached"),
    "has another key": ("HostKey {directory}/other", 2, "log in once to accept its key"),
    "forbids all": ("DenyUsers *", 2, "add your key to authorized_keys"),
    "changes the directory": ("ChrootDirectory {directory}", 2, "node alpha cannot be reached"),
}


@pytest.mark.parametrize(("options", "code", "reason"), SERVERS.values(), ids=SERVERS)
def test_a_configuration_of_sshd(
    nodes: Nodes, dlbs: RunDlbs, tmp_path: Path, options: str, code: int | None, reason: str
) -> None:
    (tmp_path / "banner").write_text("be welcome\n" * 3000)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    (tmp_path / "sshd").write_text(
        f"{options.format(directory=tmp_path)}\nPort 2222\n{(nodes.directory / 'alpha.sshd').read_text()}"
    )
    (tmp_path / "config").write_text(f"Port 2222\nHostKeyAlias {nodes.network}.2\n{nodes.config.read_text()}")
    command = [
        "ip",
        "netns",
        "exec",
        nodes.namespace("alpha"),
        "/usr/sbin/sshd",
        "-D",
        "-e",
        "-f",
        str(tmp_path / "sshd"),
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sshd:
        where = ["ip", "netns", "exec", nodes.namespace("alpha"), "ss", "-Hltn", "sport = :2222"]
        wait_until(lambda: sshd.poll() is not None or subprocess.run(where, capture_output=True, check=True).stdout)
        try:
            done = dlbs("run", *DUMMY, "--nodes", "alpha", DLBS_SSH=f"ssh -F {tmp_path}/config")
        finally:
            sshd.kill()
    assert done.returncode == code if code is not None else done.returncode in {0, 1, 2, UNAVAILABLE}, done.stderr
    assert reason in done.stderr


# Both nodes hold until they are told to go on.
HOLD = (
    "touch here{{ exp.node_rank }}; setsid sleep 1000 & while [ ! -e go{{ exp.node_rank }} ]; do sleep 0.1; done; "
    "exit $(cat go{{ exp.node_rank }})"
)


def of_beta(directory: Path, *words: str) -> list[psutil.Process]:
    """Processes that belong to the run of this test on the second node, or to the connection with it, and have all these words."""
    found = []
    for one in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            line = " ".join(one.info["cmdline"] or ())
            if all(word in line for word in words) and (one.cwd() == str(directory) or "beta" in line):
                found.append(one)
    return found


def local_ssh(nodes: Nodes, directory: Path) -> psutil.Process:
    (found,) = of_beta(directory, f"ssh -F {nodes.config}", "-- beta exec bash -s")
    return found


def shells(nodes: Nodes, directory: Path) -> list[psutil.Process]:
    """The shell that watches the second node, and its reader."""
    where = subprocess.run(["ip", "netns", "pids", nodes.namespace("beta")], capture_output=True, text=True, check=True)
    found = [psutil.Process(int(pid)) for pid in where.stdout.split()]
    return [one for one in found if one.cmdline() == ["bash", "-s"]]


def to_each(act: Callable[[psutil.Process], object], processes: Iterable[psutil.Process]) -> None:
    """Suspend or kill processes; some may have ended since they were listed."""
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            act(one)


def below(nodes: Nodes, name: str) -> list[psutil.Process]:
    return psutil.Process(nodes._sshd[name].pid).children(recursive=True)


Act = Callable[[Nodes, Path], object]
LOST, OK = UNAVAILABLE, 0
# What happens to the second of two nodes while both run → exit code, words of the reason.
ACTS: dict[str, tuple[Act, int, str]] = {
    "ssh is stopped": (lambda nodes, here: local_ssh(nodes, here).suspend(), LOST, "heartbeats were not answered"),
    "ssh is killed": (lambda nodes, here: local_ssh(nodes, here).kill(), LOST, "connection lost"),
    "ssh is terminated": (lambda nodes, here: local_ssh(nodes, here).terminate(), LOST, "node beta: "),
    "the watching shell is stopped": (lambda nodes, here: to_each(psutil.Process.suspend, shells(nodes, here)), LOST, "heartbeats were not answered"),
    "the watching shell is killed": (lambda nodes, here: shells(nodes, here)[0].kill(), LOST, "node beta: "),
    "its reader is killed": (lambda nodes, here: shells(nodes, here)[-1].kill(), LOST, "node beta: "),
    "the sessions of sshd are stopped": (lambda nodes, here: to_each(lambda one: one.name() == "sshd" and one.suspend(), below(nodes, "beta")), LOST, "node beta: "),
    "the sessions of sshd are killed": (lambda nodes, here: nodes.kill_connections("beta"), LOST, "connection lost"),
    "the sessions of both nodes are killed": (lambda nodes, here: [nodes.kill_connections(one) for one in ("alpha", "beta")], LOST, "connection lost"),
    "all processes of the node are killed": (lambda nodes, here: to_each(psutil.Process.kill, below(nodes, "beta")), LOST, "connection lost"),
    "sshd takes no more connections": (lambda nodes, here: nodes._sshd["beta"].send_signal(signal.SIGSTOP), OK, ""),
    "the network is gone for a second": (lambda nodes, here: (nodes.cut("beta"), time.sleep(1), nodes.join("beta")), OK, ""),
    "the network is gone": (lambda nodes, here: nodes.cut("beta"), LOST, "node beta: "),
    "the known hosts are gone": (lambda nodes, here: (nodes.directory / "known_hosts").rename(nodes.directory / "away"), OK, ""),
}  # fmt: skip


@pytest.mark.parametrize(("act", "code", "reason"), ACTS.values(), ids=ACTS)
def test_a_node_that_breaks_while_it_runs(nodes: Nodes, tmp_path: Path, act: Act, code: int, reason: str) -> None:
    flags = (launcher(tmp_path, HOLD), "--nodes", "alpha,beta", "-Pexp.node_timeout=3")
    run = start(tmp_path, *flags, **nodes.environment)
    try:
        wait_until(lambda: all((tmp_path / f"here{rank}").exists() for rank in (0, 1)))
        act(nodes, tmp_path)
        if code == OK:
            for rank in (0, 1):
                (tmp_path / f"go{rank}").write_text("0")
        _, told = run.communicate(timeout=120)
    finally:
        for one in [nodes._sshd["beta"].pid, *(one.pid for one in shells(nodes, tmp_path))]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)
        to_each(psutil.Process.resume, below(nodes, "beta"))
        nodes.join("beta")
        with suppress(FileNotFoundError):
            (nodes.directory / "away").rename(nodes.directory / "known_hosts")
    assert run.returncode == code, told
    assert reason in told
    to_each(psutil.Process.kill, of_beta(tmp_path, "sleep 1000"))  # of nodes whose shell was killed
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == ("cancelled" if code else "ok")
    if code:  # the same command runs it
        for rank in (0, 1):
            (tmp_path / f"go{rank}").write_text("0")
        run = start(tmp_path, *flags, **nodes.environment)
        _, told = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, told


@pytest.mark.parametrize(
    "name", ["a b'c\"d", "$(touch x)`touch x`", "-x", "new\nline", "\u00e9\u202e", "*?[a]", "a;b&c|d", "~", "!!", "#"]
)
def test_a_directory_of_any_name(nodes: Nodes, tmp_path: Path, name: str) -> None:
    here = tmp_path / name
    here.mkdir()
    run = start(here, launcher(here, "echo __results.time__= 1.0"), "--nodes", "alpha,beta", **nodes.environment)
    _, told = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, told
    assert not list(tmp_path.rglob("x"))


def test_two_runs_on_one_node(nodes: Nodes, tmp_path: Path) -> None:
    """Each ends only what is its own."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    runs = [
        start(tmp_path / name, launcher(tmp_path / name, HOLD), "--nodes", "alpha,beta", **nodes.environment)
        for name in ("first", "second")
    ]
    wait_until(lambda: len(list(tmp_path.glob("*/here*"))) == 4)
    runs[0].send_signal(signal.SIGINT)
    runs[0].communicate(timeout=PATIENCE)
    for rank in (0, 1):
        (tmp_path / "second" / f"go{rank}").write_text("0")
    _, told = runs[1].communicate(timeout=PATIENCE)
    assert runs[1].returncode == 0, told
    refused = start(
        tmp_path / "second", launcher(tmp_path / "second", HOLD), "--nodes", "alpha,beta", **nodes.environment
    )
    refused.communicate(timeout=PATIENCE)
    assert refused.returncode == 0  # finished, so there is nothing to do
