"""The parts of a session, in order of importance, each run in a separate process with a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.gpu.journal import DEADLINE, JOURNAL, PART, SESSION, Case, Journal, cases_of

__all__ = ["CASE_SECONDS", "PARTS", "Part", "run_part"]

ROOT = Path(__file__).resolve().parent.parent.parent
CASE_SECONDS = 120.0  # longer than any case takes; after it, a case counts as hanging
_GRACE = 10.0  # seconds that a part may exceed its time to finish its current case


@dataclass(frozen=True, slots=True)
class Part:
    """Cases that run in one process.

    Attributes:
        name: Name in the report.
        seconds: Its share of a session of 540 seconds.
        arguments: Arguments of the Python interpreter.
    """

    name: str
    seconds: float
    arguments: tuple[str, ...]


def _tests(*files: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/gpu/{file}" for file in files))


# First time, energy and memory, on which all other figures depend; then the most requested figures.
PARTS = (
    Part("measuring", 80, _tests("test_devices.py", "test_timing.py", "test_energy.py", "test_memory.py")),
    Part("steps and data", 80, _tests("test_steps.py", "test_data.py", "test_driver.py")),
    Part("training and serving", 90, _tests("test_training.py", "test_serving.py", "test_generation.py")),
    Part("throughput", 70, ("-m", "benchmarks.gpu", "throughput")),
    Part("programs", 70, _tests("test_programs.py", "test_disturbed.py")),
    Part("overhead and data", 60, ("-m", "benchmarks.gpu", "overhead", "data")),
    Part("ONNX Runtime", 30, _tests("test_onnxruntime.py")),
    Part("JAX", 50, _tests("test_jax.py")),
    Part("models", 45, _tests("test_models.py")),
    Part("providers", 15, _tests("test_providers.py")),
)


def run_part(part: Part, journal: Journal, environment: dict[str, str], deadline: float, log: Path) -> None:
    """Run the remaining cases of a part, repeatedly if cases end its process, until the deadline.

    Args:
        part: The part.
        journal: Journal of the cases.
        environment: Environment of its processes.
        deadline: Seconds since 1970.
        log: File to which its output is appended.
    """
    variables = {
        **environment,
        JOURNAL: str(journal.path),
        PART: part.name,
        DEADLINE: str(deadline),
        SESSION: str(os.getpid()),
    }
    planned = False
    while time.time() < deadline and (not planned or _left(part, journal)):
        before = _state(part, journal)
        with log.open("ab") as output:
            output.write(f"\n=== {part.name}: {' '.join(part.arguments)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                [sys.executable, *part.arguments],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                hanging = _wait(process, part, journal, deadline)
            finally:
                _end(process)
        planned = True
        _explain(part, journal, process.returncode, hanging)
        if _state(part, journal) == before:  # no progress: another attempt would not help
            if not _of(part, journal):
                reason = f"ended with exit code {process.returncode} before its first case: see {log.name}"
                journal.finish(Case(part.name, f"{part.name}: start", "crashed", reason=reason))
            return


def _of(part: Part, journal: Journal) -> list[Case]:
    return [case for case in cases_of(journal.path).values() if case.part == part.name]


def _left(part: Part, journal: Journal) -> list[Case]:
    return [case for case in _of(part, journal) if not case.done]


def _state(part: Part, journal: Journal) -> list[tuple[str, str]]:
    return [(case.name, case.outcome) for case in _of(part, journal) if case.done]


def _wait(process: subprocess.Popen[bytes], part: Part, journal: Journal, deadline: float) -> bool:
    """Wait for the process until the deadline plus the grace time; returns whether a case hung."""
    running, since = "", time.time()
    while True:
        try:
            process.wait(timeout=0.5)
            return False
        except subprocess.TimeoutExpired:
            now = time.time()
        case = next((case.name for case in _of(part, journal) if case.outcome == "started"), "")
        if case != running:
            running, since = case, now
        if now - since > CASE_SECONDS:
            return bool(running)
        if now > deadline + _GRACE:
            return False


def _explain(part: Part, journal: Journal, code: int, hanging: bool) -> None:
    """Record the case in which the process ended by itself; a case that our time limit stopped is tried again."""
    for case in _of(part, journal):
        if case.outcome != "started":
            continue
        if hanging:
            case.outcome, case.reason, case.seconds = "timeout", f"did not end within {CASE_SECONDS:g} s", CASE_SECONDS
        elif code in (-signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT):
            continue
        else:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            case.outcome, case.reason = "crashed", f"the process ended ({how})"
        journal.finish(case)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its descendants: a remaining benchmark would share the GPU with later measurements."""
    for number, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 30.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    end = time.monotonic() + _GRACE
    while (left := _of_session()) and time.monotonic() < end:
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        time.sleep(0.05)


def _of_session() -> list[int]:
    """Processes of this session, including those in separate process groups, found by the inherited environment variable."""
    mark = f"{SESSION}={os.getpid()}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return found
