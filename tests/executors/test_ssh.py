"""What is found out about experiments on several machines without reaching any; tests/integration/test_ssh.py reaches some."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import LaunchError
from dlbs.core.experiment import Experiment
from dlbs.core.logs import last_values
from dlbs.executors import ssh, ssh_session
from dlbs.executors.base import Executor
from dlbs.executors.local import LocalExecutor
from dlbs.executors.ssh import SshExecutor
from dlbs.executors.ssh_session import Order, ssh_command, watched
from dlbs.launch.script import Launcher, make_launcher
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for
from dlbs.run.validate import Validator
from tests.waiting import wait_until


def experiment(*parameters: str) -> Experiment:
    config = load_config(parameters=["exp.docker=false", "exp.gpus=", "exp.model=deep_mnist", *parameters])
    (found,) = processor_for(config).resolve_all(build(config))
    return found


def problems(executor: type[Executor], directory: Path, *parameters: str) -> str:
    """Those of a plan that is only looked at, so that no host is contacted."""
    validator = Validator(executor(directory), directory=directory)
    validator.check(experiment(*parameters))
    return "\n".join(map(str, validator.problems))


@pytest.mark.parametrize("hosts", ["a,b", "a, b", '["a","b"]'])
def test_hosts_give_the_number_of_nodes(hosts: str) -> None:
    found = experiment(f"exp.nodes={hosts}")
    assert found["exp.num_nodes"] == found["exp.num_replicas"] == 2


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ([], "exp.nodes names no hosts"),
        (["exp.nodes=a,a"], "names a host twice: a, a"),
        (["exp.nodes=a,b", "exp.num_nodes=3"], "exp.num_nodes is 3, but exp.nodes names 2"),
        (["exp.nodes=a,b", "exp.docker=true"], "containers cannot run on other machines"),
        (["exp.nodes=a,b", "exp.gpus=any:2"], "set GPU numbers: -Pexp.gpus=0,1"),
        (["exp.nodes=a,b", "monitor.interval=1"], "monitor.interval does not apply"),
        (["exp.nodes=a,b", "runtime.cpus=2"], "taskset"),
    ],
)
def test_problem(tmp_path: Path, parameters: list[str], said: str) -> None:
    assert said in problems(SshExecutor, tmp_path, *parameters)


def test_looking_at_a_plan_contacts_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_SSH", "/nowhere/ssh")
    assert problems(SshExecutor, tmp_path, "exp.nodes=a,b") == ""


@pytest.mark.integration  # asks docker for an image
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (["exp.nodes=a,b"], "add --executor ssh or --nodes"),
        (["exp.num_nodes=2", "exp.rendezvous=a:29500", "exp.node_rank=2"], "ranks are 0 to 1"),
        (["exp.num_nodes=2", "exp.rendezvous=a:29500", "exp.docker=true"], "containers cannot span nodes"),
        (["exp.num_nodes=2", "exp.rendezvous=a:29500", "exp.node_rank=1"], ""),
    ],
)
def test_by_hand(tmp_path: Path, parameters: list[str], said: str) -> None:
    found = problems(LocalExecutor, tmp_path, *parameters)
    assert said in found if said else not found


def test_nodes_differ_in_the_rank_alone_and_in_their_log() -> None:
    common = ("exp.num_nodes=2", "exp.rendezvous=a:29500")
    first, second = (experiment(*common, f"exp.node_rank={rank}") for rank in (0, 1))
    assert first["exp.id"] == second["exp.id"]
    assert second["exp.log_file"] == first["exp.log_file"].replace("logs/", "logs/node1/") + ".node1"
    assert "--num_nodes=2 --node_rank=1 --rendezvous=a:29500" in make_launcher(second).source
    assert "--num_nodes" not in make_launcher(experiment()).source
    assert "srun" not in make_launcher(experiment("exp.nodes=a,b")).source
    assert "srun" in make_launcher(experiment("exp.num_nodes=2")).source


def test_gpus_of_other_machines_have_no_names_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaa,GPU-bbb")
    flags = ("exp.gpus=0,1",)
    assert "export CUDA_VISIBLE_DEVICES='GPU-aaa,GPU-bbb'" in make_launcher(experiment(*flags)).source
    assert "export CUDA_VISIBLE_DEVICES='0,1'" in make_launcher(experiment(*flags, "exp.nodes=a,b")).source


def test_a_host_cannot_be_an_option_of_ssh() -> None:
    with pytest.raises(LaunchError, match="is not a host name"):
        ssh_command("-oProxyCommand=touch x", 30)
    assert ssh_command("me@host", 30)[-3:] == ["--", "me@host", "exec bash -s"]


def test_each_experiment_has_its_nodes_to_itself(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="run one at a time"):
        SshExecutor(tmp_path, 2).prepare()


def test_an_order_is_one_line() -> None:
    order = Order(["a"], ["line\nline"], 30.0)
    assert order.line().count("\n") == 1
    assert Order(**json.loads(order.line())) == order


@pytest.mark.integration
def test_a_node_says_the_exit_code_and_leaves_nothing(tmp_path: Path) -> None:
    """The shell code of a node without ssh: quotes, dollars and line ends of the launcher arrive; a session of its own ends too."""
    source = f"setsid sleep 1000 & echo $! > {tmp_path}/number; echo \"it's\" '$HOME'; echo to stderr >&2; exit 7"
    node = subprocess.Popen(["bash", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(watched(source, "mark", 1000))
    node.stdin.flush()
    assert node.stdout.read() == "it's $HOME\nto stderr\nmark:7\n"
    node.wait()
    number = int((tmp_path / "number").read_text())
    stat = Path(f"/proc/{number}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


class _Blocks:
    """A stream that arrives in these blocks."""

    def __init__(self, blocks: tuple[bytes, ...]) -> None:
        self._left = list(blocks)

    async def read(self, size: int) -> bytes:
        return self._left.pop(0) if self._left else b""


def test_lines_of_a_node_are_complete_however_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_session, "_LONGEST_LINE", 8)

    async def lines(*blocks: bytes) -> list[bytes]:
        stream = _Blocks(blocks)
        return [line async for some in ssh_session._lines(stream) for line in some]  # type: ignore[arg-type]

    assert asyncio.run(lines(b"a\nb", b"c\n", b"\n", b"d")) == [b"a", b"bc", b"", b"d"]
    assert asyncio.run(lines(b"12345", b"67890", b"1\n")) == [b"1234567890", b"1"]  # longer ones are divided


# In the place of ssh: a node that answers what it is asked, and whose launcher fails at once.
NODE = """#!{python} -S
import os, re
said = b""
while b"dlbs_watch 5" not in said and b"uname" not in said:
    said += os.read(0, 65536)
if b"uname" in said:
    print("dlbs: 127.0.0.1 1 127.0.0.1 22\\ndlbs: host")
else:
    print(re.search(r"dlbs_watch 5 \\S+ (dlbs-[0-9a-f]+)", said.decode())[1] + ":1")
"""


@pytest.mark.integration
@pytest.mark.parametrize(("own", "expected"), [("", ["127.0.0.1:1", "127.0.0.1:2"]), ("a:7", ["a:7", "a:7"])])
def test_each_attempt_has_a_rendezvous_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, expected: list[str]
) -> None:
    """The port of the attempt before may be the reason that it failed."""
    (tmp_path / "ssh").write_text(NODE.replace("{python}", sys.executable))
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("DLBS_SSH", str(tmp_path / "ssh"))
    ports = iter((1, 2))
    monkeypatch.setattr(ssh, "random", SimpleNamespace(choice=lambda among: next(ports)))
    used = list[str]()

    def made(one: Experiment, directory: Path) -> Launcher:
        used.append(one["exp.rendezvous"])
        return make_launcher(one, directory)

    monkeypatch.setattr(ssh, "make_launcher", made)
    flags = ("exp.nodes=a,b", f"exp.rendezvous={own}", "exp.framework=dummy", "exp.log_file=x.log")
    one, executor = experiment(*flags), SshExecutor(tmp_path)
    for attempt in (1, 2):
        assert executor.start({**one, "exp.attempt": attempt})
        ended = list[Experiment]()
        wait_until(lambda ended=ended: ended.extend(given for given, _ in executor.look()) or ended)  # type: ignore[misc]
        (one,) = ended
        assert last_values(tmp_path / "x.log")["exp.status"] == "failure"
    assert used[::2] == used[1::2] == expected  # the same one on both nodes


@pytest.mark.integration
@pytest.mark.parametrize("script", ["sleep 10 & echo dlbs: there", "sleep 10"])
def test_a_process_that_keeps_the_output_of_a_connection_open_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(ssh, "_PATIENCE", 0.5)
    monkeypatch.setattr(ssh, "ssh_command", lambda *_: ["sh", "-c", script])
    with pytest.raises(LaunchError, match="did not respond within"):
        ssh.ask("node", "/")
