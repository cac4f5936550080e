"""Completion in real shells: what is typed on a terminal, with tabs, becomes the arguments of `dlbs`."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration

# Answers completions as dlbs does, and notes that it did; any other call notes its arguments.
PROGRAM = """\
#!/bin/bash
if [ -n "$_DLBS_COMPLETE" ]; then
    {python} -m dlbs; echo . >> {directory}/answered
elif [ "$1" = completion ]; then
    {python} -m dlbs "$@"
else
    printf '%s\\n' "$@" > {directory}/arguments.part; mv {directory}/arguments.part {directory}/arguments
fi
"""
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'PS1="rea""dy> "; source <(dlbs completion bash)'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -U compinit; compinit -u -D; eval "$(dlbs completion zsh)"; PS1="rea""dy> "',
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        'function fish_prompt; printf "rea%s" "dy> "; end; set -g fish_autosuggestion_enabled 0; dlbs completion fish | source',
    ),
}
Typed = Callable[[str], list[str]]


@pytest.fixture(params=list(SHELLS))
def typed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Typed]:
    """Type a line into a shell on a terminal, each tab after the answer to the one before; returns the arguments of dlbs."""
    command, setup = SHELLS[request.param]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "dlbs").write_text(PROGRAM.format(python=sys.executable, directory=tmp_path))
    (programs / "dlbs").chmod(0o755)
    (tmp_path / "plan_of_mine.yaml").write_text("{}")
    packs = tmp_path / "packs" / "ornatebench"
    packs.mkdir(parents=True)
    (packs / "main.py").write_text("")
    environment = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path),
        "TERM": "dumb" if request.param == "bash" else "xterm", "PROMPT_EOL_MARK": "", "COLUMNS": "200", "LINES": "50",
    }  # fmt: skip
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    shell = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
    )  # fmt: skip
    os.close(theirs)
    output = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(ours, 4096):
                output.extend(chunk)
                if b"\x1b[c" in chunk or b"\x1b[0c" in chunk:  # fish asks what terminal this is
                    os.write(ours, b"\x1b[?62c")
        except OSError:
            pass  # the shell has ended

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def type_line(line: str) -> list[str]:
        arguments, answered = tmp_path / "arguments", tmp_path / "answered"
        arguments.unlink(missing_ok=True)
        answered.unlink(missing_ok=True)
        first, *others = line.split("\t")
        os.write(ours, first.encode())
        for count, text in enumerate(others, 1):
            os.write(ours, b"\t")
            wait_until(lambda count=count: answered.exists() and len(answered.read_text().split()) >= count)
            os.write(ours, text.encode())
        os.write(ours, b"\r")
        wait_until(arguments.exists, f"dlbs to start; the terminal shows {bytes(output)!r}")
        return arguments.read_text().split("\n")[:-1]

    os.write(ours, setup.encode() + b"\r")
    wait_until(lambda: b"ready> " in output, "the prompt")
    yield type_line
    shell.kill()
    shell.wait(PATIENCE)
    reader.join(PATIENCE)
    os.close(ours)


def test_verbs_names_and_values(typed: Typed) -> None:
    assert typed("dlbs valid\t") == ["validate"]
    assert typed("dlbs run -Pexp.mo\t=alexnet_\t --deb\t") == ["run", "-Pexp.model=alexnet_owt", "--debug"]
    assert typed("dlbs run -P exp.phase=inf\t") == ["run", "-P", "exp.phase=inference"]
    assert typed("dlbs run --plan plan_of\t") == ["run", "--plan", "plan_of_mine.yaml"]


@pytest.mark.parametrize("typed", ["bash"], indirect=True)  # what a shell inserts is the same in all
def test_every_kind_of_value(typed: Typed) -> None:
    assert typed("dlbs run -Pexp.dty\tbfl\t") == ["run", "-Pexp.dtype=bfloat16"]
    assert typed("dlbs run -Pexp.docker=f\t") == ["run", "-Pexp.docker=false"]
    assert typed("dlbs run -Pexp.framework=on\t") == ["run", "-Pexp.framework=onnxruntime"]
    assert typed("dlbs run --select orn\t") == ["run", "--select", "ornatebench"]
    assert typed("dlbs run -Pexp.pack=orn\t") == ["run", "-Pexp.pack=ornatebench"]
    assert typed("dlbs help results.throughput_c\t") == ["help", "results.throughput_ci95"]
    assert typed("dlbs report --format mark\t") == ["report", "--format", "markdown"]
