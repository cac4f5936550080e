"""Hosts and nodes: what may be given as `exp.nodes`, and what a node may answer. A name is a line, an answer is a line."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from benchmark_core.exits import UNAVAILABLE
from tests.adversarial.commands import SECONDS, Commands
from tests.experiments import DUMMY

# Texts of `--nodes` and exp.nodes; none of them reaches a shell or an option of ssh.
HOSTS = [
    "",
    ",",
    ", ,",
    "-oProxyCommand=touch pwned",
    "-oProxyCommand=touch$IFS'pwned'",
    "a,-F/dev/zero",
    "--",
    "a b",
    "a\nb",
    "a\tb",
    "a;touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "a\x1b[2J",
    "a\u202eb",
    "a\u200bb",
    "a,a",
    "x" * 100_000,
    ",".join(f"h{number}" for number in range(40)),
    "${exp.model}",
    "$([i for i in range(10**9)])$",
    "{exp.model}",
    "[fe80::1%eth0]",
    "host:22",
    "user@host@host",
    "../../etc",
]

# A program in the place of ssh that notes how it was called.
NOTES = """#!{python} -S
import sys
with open("calls", "a") as calls:
    print(repr(sys.argv[1:]), file=calls)
sys.exit(255)
"""


def program(directory: Path, name: str, source: str) -> str:
    path = directory / name
    path.write_text(source.replace("{python}", sys.executable))
    path.chmod(0o755)
    return shlex.quote(str(path))


@pytest.mark.parametrize("hosts", HOSTS, ids=range(len(HOSTS)))
@pytest.mark.parametrize("way", ["--nodes", "-Pexp.nodes"])
def test_a_name_of_a_host(commands: Commands, tmp_path: Path, hosts: str, way: str) -> None:
    ssh = program(tmp_path, "ssh", NOTES)
    given = ("--nodes", hosts) if way == "--nodes" else (f"-Pexp.nodes={hosts}", "--executor", "ssh")
    done = commands.run(tmp_path, "validate", *DUMMY, *given, DLBS_SSH=ssh)
    assert not done.is_crash(), done
    assert done.seconds < SECONDS
    assert not (tmp_path / "pwned").exists()
    assert "\x1b" not in done.errors
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    if way == "-Pexp.nodes":
        assert calls == []  # validating contacts only hosts that were typed as such
    for call in calls:
        words = eval(call)
        assert words[-3] == "--"  # what follows is no option
        assert words[-2] in hosts.split(",")
        assert words[-1] == "exec bash -s"


@pytest.mark.parametrize("hosts", ["-oProxyCommand=touch pwned", "a", "$(touch pwned)", ""], ids=range(4))
def test_the_nodes_of_a_written_plan_are_not_contacted(commands: Commands, tmp_path: Path, hosts: str) -> None:
    ssh = program(tmp_path, "ssh", NOTES)
    one = {
        "exp.framework": "dummy",
        "exp.docker": False,
        "exp.gpus": "",
        "exp.nodes": hosts,
        "exp.log_file": "logs/x.log",
    }
    (tmp_path / "plan.json").write_text(json.dumps([one]))
    for verb in (["validate", "--executor", "ssh"], ["run", "--dry-run", "--executor", "ssh"]):
        done = commands.run(tmp_path, *verb, "--plan", "plan.json", DLBS_SSH=ssh)
        assert not done.is_crash(), done
        assert not (tmp_path / "calls").exists(), verb


# What a node answers to the question what it has. The first lines are as they should be.
WELL = "print('dlbs: 10.0.0.1 1 10.0.0.2 22'); print('dlbs: host'); "
ANSWERS: dict[str, str] = {
    "nothing": "pass",
    "a failure": "sys.exit(1)",
    "no connection": "print('ssh: no route \\x1b[2J', file=sys.stderr); sys.exit(255)",
    "bytes": "sys.stdout.buffer.write(bytes(range(256)) * 1000)",
    "one line": "print('dlbs: x')",
    "empty facts": "print('dlbs: '); print('dlbs: ')",
    "facts of one word": "print('dlbs: x'); print('dlbs: y')",
    "many facts": "print('dlbs: a b c d\\n' * 10000)",
    "an escape sequence as a name": "print('dlbs: 1 2 3 4'); print('dlbs: \\x1b[2J')",
    "no versions": WELL,
    "text": WELL + "print('hello')",
    "a number": WELL + "print(3)",
    "a list": WELL + "print('[]')",
    "null": WELL + "print('null')",
    "depth": WELL + "print('[' * 100000)",
    "digits": WELL + "print('9' * 5000)",
    "other keys": WELL + "print('{\"x\": 1}')",
    "more keys": WELL + "print('{\"python\": \"3\", \"torch\": \"2\", \"program\": \"x\", \"address\": \"y\"}')",
    "values of other types": WELL + "print('{\"python\": [], \"torch\": {}, \"program\": 3}')",
    "no torch": WELL + "print('{\"python\": \"3\", \"torch\": \"\", \"program\": \"x\"}')",
    "a farewell": WELL + "print('{\"python\": \"3\", \"torch\": \"2\", \"program\": \"x\"}'); print('logout')",
    "20 MB": "print('x' * 20_000_000)",
    "an endless line of complaints": "sys.stderr.write('x' * 10_000_000); sys.exit(255)",
    "without an end": "while True: print('x' * 1_000_000)",
    "complaints without an end": "while True: print('x' * 1_000_000, file=sys.stderr)",
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("framework", ["dummy", "pytorch"])
def test_what_a_node_answers(commands: Commands, tmp_path: Path, answer: str, framework: str) -> None:
    ssh = program(tmp_path, "ssh", f"#!{{python}} -S\nimport sys\n{answer}\n")
    flags = ["-Pexp.docker=false", "-Pexp.gpus=", f"-Pexp.framework={framework}", "--no-validation"]
    done = commands.run(tmp_path, "run", *flags, "--nodes", "a,b", DLBS_SSH=ssh)
    assert not done.is_crash(), done
    assert done.code in {0, 1, 2, UNAVAILABLE}
    assert done.seconds < SECONDS
    assert len(done.errors + done.output) < 10_000
    assert "\x1b" not in done.errors + done.output


# What a node prints while it runs an experiment; TOKEN is what tells its end.
RUNS: dict[str, str] = {
    "nothing": "pass",
    "an exit code of 5,000 digits": "print(f'{token}:' + '9' * 5000)",
    "an exit code of 999": "print(f'{token}:999')",
    "a negative exit code": "print(f'{token}:-1')",
    "an exit code twice": "print(f'{token}:0'); print(f'{token}:1')",
    "a line of 20 MB": "print('x' * 20_000_000); print(f'{token}:0')",
    "a complaint of 20 MB": "sys.stderr.write('x' * 20_000_000); print(f'{token}:0')",
    "bytes": "sys.stdout.buffer.write(bytes(range(256)) * 1000); print(f'{token}:0')",
    "a strange reason": "print('__exp.start_time__= 1'); print('__exp.status_msg__= ' + '[' * 100000); print(f'{token}:1')",
    "a reason of digits": "print('__exp.start_time__= 1'); print('__exp.status_msg__= ' + '9' * 5000); print(f'{token}:1')",
    "a reason with an escape sequence": "print('__exp.start_time__= 1'); print('__exp.status_msg__= \"\\\\u001b[2J\"'); print(f'{token}:1')",
}  # fmt: skip

NODE = """#!{python} -S
import os, re, sys
said = b""
os.set_blocking(0, True)
while b"dlbs_watch 5" not in said and b"uname" not in said:
    said += os.read(0, 65536)
if b"uname" in said:
    print("dlbs: 127.0.0.1 1 127.0.0.1 22"); print("dlbs: host")
    sys.exit(0)
token = re.search(rb"dlbs_watch 5 \\S+ (dlbs-[0-9a-f]+)", said)[1].decode()
ANSWER
"""


@pytest.mark.parametrize("answer", RUNS.values(), ids=RUNS)
def test_what_a_node_prints(commands: Commands, tmp_path: Path, answer: str) -> None:
    ssh = program(tmp_path, "ssh", NODE.replace("ANSWER", answer))
    log = "-Pexp.log_file=logs/x.log"
    done = commands.run(tmp_path, "run", *DUMMY, log, "--nodes", "a,b", DLBS_SSH=ssh)
    assert not done.is_crash(), done
    assert done.code in {0, 1, UNAVAILABLE}, done
    assert done.seconds < SECONDS
    assert "\x1b" not in done.errors
    said = (tmp_path / "logs" / "x.log").read_text(errors="replace")
    assert "Traceback" not in said
    assert "unexpected error, a bug" not in said
    assert re.search('^__exp.status__= "(ok|failure|cancelled)"$', said, re.MULTILINE)
