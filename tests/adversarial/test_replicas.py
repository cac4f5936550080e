"""Replicas that fail: each way is a line. A user sees one error, the reason of the replica that failed first, and its exit code; no traceback of torchrun."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT, RunDlbs
from tests.experiments import logs, values
from tests.forked import ForkServer
from tests.waiting import PATIENCE, wait_until

PYTHON = ROOT / "python"
BENCHMARKS = PYTHON / "pytorch_benchmarks" / "benchmarks.py"
TORCHRUN = PYTHON / "pytorch_benchmarks" / "torchrun.py"

# A program of ours, as short as one can be: replica 0 works until it is ended, replica 1 does something.
PROGRAM = f"""
import os, pickle, signal, sys, time
sys.path.insert(0, {str(PYTHON)!r})
from benchmark_core.exits import BenchmarkError, SkippedError, UsageError
from benchmark_core.log import Log
from pytorch_benchmarks.options import parse_benchmark_options
from benchmark_core.program import run
from benchmark_core.crash import guarded

class OutOfMemoryError(RuntimeError):
    "As torch has one."

class DistBackendError(RuntimeError):
    "As torch has one."

LEFT = os.environ.get("PYTORCH_BENCHMARKS_REASONS")

def work():
    if os.environ["RANK"] == "0":
        WAITS
    DOES

sys.exit(guarded(lambda: run(work, parse_benchmark_options(["--model=m", *sys.argv[1:]]), Log())))
"""
ADVICE = "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely succeed."

# What replica 1 does, the exit code, and part of the error.
FAILURES: dict[str, tuple[str, int, str]] = {
    "a defect": ("{}['x']", 70, ": KeyError: 'x' (details: "),
    "an error of ours": ("raise BenchmarkError('it is broken')", 1, "error: it is broken"),
    "an error with an escape sequence": ("raise BenchmarkError('\\x1b[2J')", 1, "?[2J"),
    "an error of many lines": ("raise BenchmarkError('first\\n' * 10_000)", 1, "error: first first"),
    "wrong options": ("raise UsageError('choose another')", 2, "error: choose another"),
    "nothing that is supported": ("raise SkippedError('not supported')", 77, "error: not supported"),
    "no memory": ("raise OutOfMemoryError('CUDA out of memory')", 3, "error: out of memory: m with batch size"),
    "advice of torch": (f"raise pickle.UnpicklingError({ADVICE!r})", 1, "error: a file cannot be read as tensors"),
    "exit": ("sys.exit(5)", 5, "replica 1 ended with exit code 5 and gave no reason"),
    "an exit that nothing hears of": ("os._exit(6)", 6, "replica 1 ended with exit code 6 and gave no reason"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", 137, "replica 1 was ended by SIGKILL: the system may have run out of"),
    "aborted": ("os.abort()", 134, "replica 1 was ended by SIGABRT"),
    "a wrong address": ("signal.raise_signal(signal.SIGSEGV)", 139, "replica 1 was ended by SIGSEGV"),
    "a reason that is none": ("open(f'{LEFT}/1.json', 'w').write('[' * 100_000); os._exit(7)", 7, "exit code 7"),
    "a reason of another form": ("open(f'{LEFT}/1.json', 'w').write('[1]'); os._exit(7)", 7, "exit code 7"),
    "a reason without end": ("open(f'{LEFT}/1.json', 'w').write('x' * 50_000_000); os._exit(7)", 7, "exit code 7"),
    "a lost connection": ("raise DistBackendError('NCCL: remote process exited')", 1, "the connection to another replica was lost"),
    "a standard output that is closed": ("os.close(1); raise BenchmarkError('it is broken')", 1, "error: it is broken"),
}  # fmt: skip


Done = subprocess.CompletedProcess[str]
Torch = Callable[..., Done]


@pytest.fixture
def torch_program(forked_torch: ForkServer, tmp_path: Path) -> Torch:
    """Run a program that imports torch, from the directory of the test."""

    def run(*command: str) -> Done:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return forked_torch.run(*command, directory=tmp_path, environment=environment, timeout=PATIENCE)

    return run


def replicas(directory: Path, does: str, waits: str = "time.sleep(1000)") -> list[str]:
    """The command that runs two replicas of the program."""
    (directory / "program.py").write_text(PROGRAM.replace("DOES", does).replace("WAITS", waits))
    return [str(TORCHRUN), "--standalone", "--nproc-per-node=2", "program.py"]


def check(done: Done, code: int, error: str) -> None:
    """There is one error."""
    assert done.returncode == code, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, done.stderr
    assert error in said[0]
    assert done.stdout.count("__exp.status_msg__") == 1
    for text in ("Traceback", "ChildFailedError", "weights_only", "\x1b"):
        assert text not in done.stdout + done.stderr, text


# What both replicas do: they join, one fails, and the other one waits for it. To leave the group then may take ten minutes with NCCL.
JOINED = """import torch
    from pytorch_benchmarks.distributed import joined
    torch.distributed.destroy_process_group = lambda: os._exit(6)
    with joined(torch.device("cpu")):
        if os.environ["RANK"] == "1":
            raise OutOfMemoryError("CUDA out of memory")
        torch.distributed.barrier()"""


def test_a_replica_that_fails_does_not_wait_for_those_that_wait_for_it(torch_program: Torch, tmp_path: Path) -> None:
    check(torch_program(*replicas(tmp_path, JOINED, waits="pass")), 3, "error: out of memory: m with batch size")


@pytest.mark.parametrize(("does", "code", "error"), FAILURES.values(), ids=FAILURES)
def test_a_replica_that_fails(torch_program: Torch, tmp_path: Path, does: str, code: int, error: str) -> None:
    check(torch_program(*replicas(tmp_path, does)), code, error)


def test_the_first_reason_is_the_error(torch_program: Torch, tmp_path: Path) -> None:
    """Replica 0 notices the failure of the other one, and ends before it."""
    other = "while not os.path.exists('failed'): pass\n        raise DistBackendError('remote process exited')"
    does = "import atexit; atexit.register(time.sleep, 1000); BenchmarkError.__str__ = lambda self: open('failed', 'w') and 'it is broken'\n    raise BenchmarkError"
    check(torch_program(*replicas(tmp_path, does, other)), 1, "error: it is broken")


def test_an_abort_that_follows_a_failure_does_not_hide_it(torch_program: Torch, tmp_path: Path) -> None:
    """As NCCL's watchdog ends a replica when another one is gone. torchrun knows the time of such an end in whole seconds, rounded down."""
    other = "while not os.path.exists('failed'): pass\n        os.abort()"
    does = "import atexit; atexit.register(time.sleep, 1000); BenchmarkError.__str__ = lambda self: open('failed', 'w') and 'it is broken'\n    raise BenchmarkError"
    check(torch_program(*replicas(tmp_path, does, other)), 1, "error: it is broken")


# A model whose replica 1 fails in its first batch, while the other one waits for it in the backward pass.
MODEL = """
import os, sys, time
from pathlib import Path
import torch
from torch import nn
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.model import register_model

@register_model("theirs")
class Theirs(Model):
    title, input_shape, num_classes = "Theirs", (8,), 3
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
    def forward(self, x):
        Path(f"replica.{os.getpid()}").touch()
        if os.environ["RANK"] == "1":
            DOES
        return self.layer(x)
"""


def model(directory: Path, does: str) -> list[str]:
    (directory / "theirs.py").write_text(MODEL.replace("DOES", does))
    return ["--model=theirs", "--architecture=theirs.py", "--num_batches=2", "--num_warmup_batches=1"]


TWO = ("--device=cpu", "--num_replicas=2")


def test_a_replica_that_is_killed_in_the_middle_of_a_batch(torch_program: Torch, tmp_path: Path) -> None:
    """The others end long before they would notice by themselves: PyTorch lets them wait for half an hour."""
    done = torch_program(str(BENCHMARKS), *TWO, *model(tmp_path, "os.kill(os.getpid(), 9)"))
    check(done, 137, "replica 1 was ended by SIGKILL")
    left = [int(file.suffix[1:]) for file in tmp_path.glob("replica.*")]
    assert len(left) == 2
    assert not any(map(psutil.pid_exists, left))


def test_a_mistake_in_the_options_is_one_error_of_all_replicas(torch_program: Torch, tmp_path: Path) -> None:
    does = "raise UsageError('no such file')"
    check(torch_program(*replicas(tmp_path, does, does)), 2, "no such file")


def test_debug_shows_the_traceback(torch_program: Torch, tmp_path: Path) -> None:
    done = torch_program(*replicas(tmp_path, "raise BenchmarkError('it is broken')"), "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stdout
    assert "ChildFailedError" in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "error"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")]
)
def test_a_signal_ends_all_replicas(tmp_path: Path, number: signal.Signals, code: int, error: str) -> None:
    (tmp_path / "temporary").mkdir()
    work = "open('begun' + os.environ['RANK'], 'w'); time.sleep(1000)"
    process = subprocess.Popen(
        [sys.executable, *replicas(tmp_path, work, work)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(list(tmp_path.glob("begun*"))) == 2)
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    check(subprocess.CompletedProcess([], process.returncode, output, errors), code, f"error: {error}")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_meeting_point_that_is_taken_is_one_error(torch_program: Torch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = torch_program(str(BENCHMARKS), *TWO, "--model=deep_mnist", "--num_nodes=2", f"--rendezvous={place}")
    check(done, 2, "node 0 cannot listen on port ")


def test_the_reason_is_that_of_the_experiment(dlbs: RunDlbs, tmp_path: Path) -> None:
    model(tmp_path, "raise KeyError('a defect')")
    flags = ["-Pexp.model=theirs", f"-Ppytorch.architecture={tmp_path / 'theirs.py'}", "-Pexp.num_local_replicas=2"]
    small = ["-Pexp.docker=false", "-Pexp.gpus=", "-Pexp.num_batches=2", "-Pexp.phase=inference"]
    done = dlbs("run", *flags, *small)
    assert done.returncode == 1
    assert "KeyError: 'a defect'" in done.stderr
    assert "Traceback" not in done.stderr
    (log,) = logs(tmp_path)
    assert values(log)["exp.status_msg"] == "KeyError: 'a defect'"
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == ["error: KeyError: 'a defect'"]
    files = [line.split('"')[1] for line in lines if line.startswith('  File "')]
    assert files[0].endswith("theirs.py")  # the author's information begins in the author's file
    assert "ChildFailedError" not in log.read_text()
