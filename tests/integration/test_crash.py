"""The last line of defence of every program beside `dlbs`: no traceback of ours, a file with the details, exit code 70."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark_core.exits import UNFORESEEN
from dlbs.core.logs import parse_line
from scripts import module_map
from tests.conftest import ROOT, Bench
from tests.suites.torchbench.made_models import LOADER
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

# Programs with a defect in them, in the way in which each starts its work.
PROGRAMS = {
    "any": "from benchmark_core.crash import guarded\nsys.exit(guarded(lambda: 1 // 0))",
    "benchmarks.py": """
from benchmark_core.log import Log
from pytorch_benchmarks.options import parse_benchmark_options
from benchmark_core.program import run
from benchmark_core.crash import guarded
sys.exit(guarded(lambda: run(lambda: 1 // 0, parse_benchmark_options(["--model=alexnet", *sys.argv[1:]]), Log())))
""",
}


def start(
    directory: Path, program: str, *arguments: str, redirect: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    (directory / "program.py").write_text(f"import sys\n{program}\n")
    known = {name: value for name, value in os.environ.items() if not name.startswith("DLBS_")}
    known |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'python'}", "TMPDIR": str(directory), "OMP_NUM_THREADS": "1"}
    command = ["bash", "-c", f'exec "$@" {redirect}', "bash", sys.executable, "program.py", *arguments]
    return subprocess.run(
        command, cwd=directory, env=known | environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_an_unforeseen_error_is_one_line_and_a_file_with_the_details(tmp_path: Path, program: str) -> None:
    done = start(tmp_path, program)
    assert done.returncode == UNFORESEEN
    assert done.stderr.startswith("error: unexpected error, a bug in ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout
    (details,) = tmp_path.glob("*-error-*.txt")
    assert f"(details: {details})" in done.stderr
    assert details.stat().st_mode & 0o777 == 0o600
    assert "ZeroDivisionError" in details.read_text()
    assert dict(filter(None, map(parse_line, done.stdout.splitlines())))["exp.status_msg"] in done.stderr


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_the_details_lie_beside_the_log(tmp_path: Path, program: str) -> None:
    (tmp_path / "logs").mkdir()
    done = start(tmp_path, program, DLBS_LOG=str(tmp_path / "logs" / "one.log"))
    assert done.returncode == UNFORESEEN
    (details,) = (tmp_path / "logs").glob("one.log.error-*.txt")
    assert str(details) in done.stderr
    assert details.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_debug_shows_the_traceback(tmp_path: Path, program: str) -> None:
    done = start(tmp_path, program, "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stdout + done.stderr


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_the_details_of_a_container_are_a_value_of_the_log(tmp_path: Path, program: str) -> None:
    done = start(tmp_path, program, DLBS_IN_CONTAINER="1")
    assert done.returncode == UNFORESEEN
    values = dict(filter(None, map(parse_line, done.stdout.splitlines())))
    assert "ZeroDivisionError" in values["exp.error_details"]
    assert not list(tmp_path.glob("*-error-*"))


def test_every_program_has_this_root() -> None:
    """Whatever is started as a program, but templates of packs and the files that call `dlbs.cli.start`, whose root is in `dlbs.cli.options`."""
    for room in module_map.rooms():
        for path in module_map.modules_of(room):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
                    code = ast.unparse(node)
                    assert "guarded(" in code or "start(" in code, path


MODEL = """from torchbenchmark.util.model import BenchmarkModel
class Model(BenchmarkModel):
    def __init__(self, test, device, batch_size=None, extra_args=[]):
        raise ValueError("a defect of the author")
"""


@pytest.mark.parametrize(
    ("source", "code"), [(MODEL, 1), ("import nothing_of_that_name\n", 2)], ids=["model", "import"]
)
def test_the_traceback_of_a_users_model_is_in_the_log_from_the_models_first_line_on(
    bench: Bench, tmp_path: Path, source: str, code: int
) -> None:
    pack = tmp_path / "theirs"
    pack.mkdir()
    (pack / "__init__.py").write_text(source)
    done = bench("--device=cpu", f"--pack={pack}", LOADER)
    assert done.returncode == code
    assert "unforeseen" not in done.stderr
    assert done.stderr.count("\n") == 1
    files = [line.split('"')[1] for line in done.stdout.splitlines() if line.startswith('  File "')]
    assert files[0] == str(pack / "__init__.py")


def test_the_traceback_of_a_users_architecture_is_in_the_log(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "architecture.py"
    file.write_text(
        "from pytorch_benchmarks.models.model import register_model\n@register_model('theirs')\ndef theirs(**options):\n    raise KeyError('x')\n"
    )
    done = bench("--device=cpu", "--model=theirs", f"--architecture={file}")
    assert done.returncode == 1
    assert "unforeseen" not in done.stderr
    assert str(file) in done.stdout


@pytest.mark.parametrize("redirect", [">/dev/full", ">&-"])
def test_standard_output_that_cannot_be_written_is_one_error(tmp_path: Path, redirect: str) -> None:
    program = PROGRAMS["benchmarks.py"].replace("1 // 0", "print('x' * 100000)")
    done = start(tmp_path, program, redirect=redirect)
    assert "Traceback" not in done.stderr
    if redirect != ">&-":
        assert done.returncode == 2
        assert done.stderr == "error: standard output cannot be written: No space left on device\n"


# What a command or a script prints is a stranger's.
LINES = {
    "brackets": "'[' * 100_000",
    "digits": "'9' * 5_000",
    "a number that is no float": "'9' * 400",
    "infinity": "'1e999'",
}


@pytest.mark.parametrize("value", LINES.values(), ids=LINES)
def test_a_command_that_prints_a_strange_value_is_measured(tmp_path: Path, value: str) -> None:
    command = [sys.executable, "-c", f"print('__results.x__=', {value})"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "python" / "command_runner"), "--batches", "2", "--", *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "__results.time__=" in done.stdout
