"""Containers that mean ill, run by a real docker: each case is a line, a shell command in the container and what `predict` answers."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import LaunchError, LogError
from dlbs.packs.container_model import ContainerModel, read_output_file
from dlbs.packs.docker import DockerContainer
from tests.services import BASE_IMAGE
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker", "base image")]

INPUTS = [{"word": "a"}, {"word": "b"}]
OUT = "/shared/output.jsonl"
GOOD = r"""printf '{"output": 1}\n{"output": 2}\n'"""

# What the container runs, and part of the error or the outputs.
CASES: dict[str, tuple[str, Any]] = {
    "as many lines as there were inputs": (f"{GOOD} > {OUT}", [1, 2]),
    "no output": ("true", "output.jsonl: "),
    "a line less": (f"printf '1\\n' > {OUT}", "read 2 lines and wrote 1"),
    "a line more": (f"printf '1\\n2\\n3\\n' > {OUT}", "read 2 lines and wrote more"),
    "a link to a file of the host": (f"ln -s /etc/passwd {OUT}", "is a symbolic link, which is not followed"),
    "a link to its input": (f"ln -s input.jsonl {OUT}", "is a symbolic link"),
    "a link to itself": (f"ln -s output.jsonl {OUT}", "is a symbolic link"),
    "a link to an endless device": (f"ln -s /dev/zero {OUT}", "is a symbolic link"),
    "a named pipe": (f"mkfifo {OUT}", "is not a regular file"),
    "a directory": (f"mkdir {OUT}", "is not a regular file"),
    "a file that cannot be read": (f"{GOOD} > {OUT}; chmod 000 {OUT}", None),
    "8 GB of nothing": (f"truncate -s 8G {OUT}", "is larger than"),
    "an escape sequence": (f"printf '\\033[2J\\n' > {OUT}", "not JSON"),
    "20 MB of printing": (f"head -c 20000000 /dev/zero | tr '\\0' x; {GOOD} > {OUT}", [1, 2]),
    "20 MB of printing, and a failure": ("head -c 20000000 /dev/zero | tr '\\0' x; echo last; exit 7", "last"),
    "a failure with an escape sequence": ("printf '\\033[2Jlast\\n'; exit 7", "exit code 7"),
    "no program": ("no-such-program", "exit code 127"),
    "the input as a link to the host": (f"rm /shared/input.jsonl; ln -s /etc/passwd /shared/input.jsonl; {GOOD} > {OUT}", [1, 2]),
    "a directory that nobody may enter": (f"mkdir -p /shared/a/b; chmod 000 /shared/a; {GOOD} > {OUT}", [1, 2]),
    "2,000 directories inside each other": (f"cd /shared; for i in $(seq 2000); do mkdir d; cd d; done; {GOOD} > {OUT}", [1, 2]),
    "a link to a directory of the host": (f"ln -s / /shared/root; {GOOD} > {OUT}", [1, 2]),
    "the way to the host": (f"cd /shared/..; ls; rm -rf /shared/../shared/input.jsonl; {GOOD} > {OUT}", [1, 2]),
}  # fmt: skip


def left() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("dlbs-container-")}


@pytest.mark.parametrize("case", CASES)
def test_container(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, expected = CASES[case]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # What `predict` appends, the names of the files, is a comment here.
    model = ContainerModel(BASE_IMAGE, command=f"( {command}\n) #", timeout=PATIENCE)
    if isinstance(expected, str):
        with pytest.raises(LaunchError) as raised:
            model.predict_batch(INPUTS)
        assert expected in str(raised.value)
        assert "root:" not in str(raised.value)
        assert "\x1b" not in str(raised.value)
    elif expected is None:  # root may read any file
        assert os.getuid() == 0
        assert model.predict_batch(INPUTS) == [1, 2]
    else:
        assert model.predict_batch(INPUTS) == expected
    assert not left()


def test_what_a_container_prints_is_kept_to_its_end() -> None:
    with DockerContainer(BASE_IMAGE) as backend:
        printed = backend.run_command("head -c 5000000 /dev/zero | tr '\\0' x; echo last")
    assert len(printed) == 1 << 20
    assert printed.endswith("last\n")


# The same reader without docker, which takes most of the time: what a container may have left, as a shell command, and part of the error or the values.
FILES: dict[str, tuple[str, Any]] = {
    "values without an object": ("printf '1\\n2\\n' > output.jsonl", [1, 2]),
    "empty lines between": ("printf '\\n1\\n\\n\\n2\\n\\n' > output.jsonl", [1, 2]),
    "an empty file": (": > output.jsonl", []),
    "a million lines": ("yes 1 | head -n 1000000 > output.jsonl", [1, 1, 1]),
    "a line of 70 MB": ("head -c 70000000 /dev/zero | tr '\\0' 1 > output.jsonl", "a line is longer than"),
    "zeros": ("head -c 100000 /dev/zero > output.jsonl", "not JSON"),
    "no UTF-8": ("printf '\"\\377\"\\n1\\n' > output.jsonl", "not JSON (not UTF-8)"),
    "text": ("echo Done. > output.jsonl", "not JSON"),
    "100,000 lists": ("yes '[' | head -n 100000 | tr -d '\\n' > output.jsonl", "nested"),
    "a number of 5,000 digits": ("yes 9 | head -n 5000 | tr -d '\\n' > output.jsonl", "5,000 digits"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_file(case: str, tmp_path: Path) -> None:
    command, expected = FILES[case]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    if isinstance(expected, str):
        with pytest.raises(LogError) as raised:
            read_output_file(tmp_path / "output.jsonl", 2)
        assert expected in str(raised.value)
    else:
        assert read_output_file(tmp_path / "output.jsonl", 2) == expected


def test_a_link_is_not_followed_and_nothing_of_its_target_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"output": "secret"}\n')
    (tmp_path / "output.jsonl").symlink_to("secret")
    with pytest.raises(Exception, match="symbolic link") as raised:
        read_output_file(tmp_path / "output.jsonl", 1)
    assert "secret" not in str(raised.value).replace(str(tmp_path), "")


def test_memory_stays_bounded_while_a_large_file_is_read(tmp_path: Path) -> None:
    """A file of 400 MB, within the limit of size: only as much of it is read as there are inputs."""
    program = f"""
import resource
from dlbs.packs.container_model import read_output_file
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
print(len(read_output_file({str(tmp_path / "o")!r}, 2)))
"""
    with open(tmp_path / "o", "wb") as stream:
        stream.write(b"1\n2\n3\n")
        stream.truncate(400 << 20)
    import sys

    from tests.conftest import ROOT

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.stdout == "3\n", done.stderr
