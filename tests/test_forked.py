"""Forked programs are like programs that are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import ForkServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

SHOW = """
import os, sys
print(__name__, sys.argv[1:], os.getcwd(), os.environ.get("WORD"), "PATH" in os.environ, sys.path[0])
print("é\\r\\nerror", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    made = ForkServer(("json", "no_such_module.*"), tmp_path_factory.mktemp("server"), dict(os.environ))
    yield made
    made.close()


def program(directory: Path, code: str) -> str:
    path = directory / "program.py"
    path.write_text(code)
    return str(path)


@pytest.mark.parametrize("more", [{}, {"PYTHONHASHSEED": "1"}], ids=["forked", "started"])
def test_arguments_directory_environment_and_output(server: ForkServer, tmp_path: Path, more: dict[str, str]) -> None:
    file = program(tmp_path, SHOW)
    arguments = [file, "one", "two words"]
    environment = {"WORD": "w", **{name: value for name, value in os.environ.items() if name != "PATH"}, **more}
    found = server.run(*arguments, directory=tmp_path, environment=environment, timeout=PATIENCE)
    started = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, started.stdout, started.stderr)
    assert "__main__" in found.stdout


def test_what_a_function_has_read_is_there_already(tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text("import os\nread = []\ndef remember(): read.append(os.getpid())\n")
    server = ForkServer(("reader:remember",), tmp_path, dict(os.environ))
    file = program(tmp_path, "import os, reader\nprint(reader.read == [os.getppid()])\n")
    done = server.run(file, directory=tmp_path, environment=dict(os.environ), timeout=PATIENCE)
    server.close()
    assert done.stdout == "True\n", done.stderr


def test_a_module_finds_what_is_in_its_directory(server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import json, sys\nsys.exit(json.loads(sys.argv[1]))\n")
    done = server.run("-m", "mine", "7", directory=tmp_path, environment=dict(os.environ), timeout=PATIENCE)
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("code", "expected", "said"),
    [
        ("raise ValueError('why')", 1, "ValueError: why"),
        ("import os; os._exit(5)", 5, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import sys; sys.exit('wrong')", 1, "wrong"),
    ],
)
def test_its_end(server: ForkServer, tmp_path: Path, code: str, expected: int, said: str) -> None:
    file = program(tmp_path, code)
    done = server.run(file, directory=tmp_path, environment=dict(os.environ), timeout=PATIENCE)
    assert done.returncode == expected
    assert said in done.stderr
    with pytest.raises(subprocess.CalledProcessError):
        server.run(file, directory=tmp_path, environment=dict(os.environ), timeout=PATIENCE, check=True)


def test_one_that_hangs_is_killed_and_the_next_one_runs(server: ForkServer, tmp_path: Path) -> None:
    file = program(tmp_path, "import time; time.sleep(100_000)")
    with pytest.raises(subprocess.TimeoutExpired):
        server.run(file, directory=tmp_path, environment=dict(os.environ), timeout=0.5)
    file = program(tmp_path, "print('next')")
    done = server.run(file, directory=tmp_path, environment=dict(os.environ), timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "next\n")


def test_programs_run_side_by_side_and_are_told_apart(server: ForkServer, tmp_path: Path) -> None:
    wait = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\nprint(sys.argv[1])\n"
    file, environment = program(tmp_path, wait), dict(os.environ)
    one, other = (server.start(file, name, directory=tmp_path, environment=environment) for name in ("a", "b"))
    assert one.pid != other.pid
    (tmp_path / "b").touch()
    assert other.communicate(PATIENCE) == ("b\n", "")
    assert (other.returncode, one.poll()) == (0, None)
    one.send_signal(signal.SIGTERM)
    assert one.wait(PATIENCE) == one.poll() == one.returncode == -signal.SIGTERM
    one.kill()  # it has ended: nobody else is hit


def test_a_program_does_what_it_wants_with_signals(server: ForkServer, tmp_path: Path) -> None:
    code = "import time\ntry:\n    print('begun', flush=True)\n    time.sleep(100_000)\nexcept KeyboardInterrupt:\n    print('over')\n"
    running = server.start(program(tmp_path, code), directory=tmp_path, environment=dict(os.environ))
    assert running.stdout is not None
    assert running.stdout.readline()
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE) == 0


def test_output_into_a_file(server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "output").touch()
    words = [program(tmp_path, "print('hello')")]
    done = server.run(
        *words, directory=tmp_path, environment=dict(os.environ), timeout=PATIENCE, output=str(tmp_path / "output")
    )
    assert (done.returncode, done.stdout, (tmp_path / "output").read_text()) == (0, "", "hello\n")


def test_more_output_than_a_pipe_holds(server: ForkServer, tmp_path: Path) -> None:
    file = program(tmp_path, "import sys\nfor s in sys.stderr, sys.stdout: s.write('x' * 500_000)")
    done = server.run(file, "y" * 100_000, directory=tmp_path, environment=dict(os.environ), timeout=PATIENCE)
    assert (len(done.stdout), len(done.stderr)) == (500_000, 500_000)
