"""The parts of a session, each run in separate processes with a time limit.

A test file that needs a GPU is in one part of `_checks`; if tests in it have the marker `alone`, also in one with `ALONE`.
"""

from __future__ import annotations

import math
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from benchmarks.gpu.journal import (
    DEADLINE,
    JOURNAL,
    PART,
    PIECE,
    SESSION,
    Case,
    Journal,
    cases_of,
    earlier_of,
    planned_parts,
)
from scripts import ROOT

_CPUS_OF_PROCESS = 3  # a test, the program that it starts, and that one's loaders or compilers
_MOST = 6  # processes that share a GPU
_START = 8.0  # seconds until the first case of a process: imports of PyTorch, and the context of the GPU


def processes_for(cpus: int) -> int:
    """The number of parts that run at the same time on so many CPUs."""
    return max(min(cpus, 2), min(cpus // _CPUS_OF_PROCESS, _MOST))


def stages_of(parts: Iterable[Part], processes: int, journal: Journal) -> list[Stage]:
    """The parts in their order, those between two that run alone together: first those with cases that have not passed yet, then the longest."""
    outcomes: dict[str, set[str]] = {}
    for case in earlier_of(journal.path).values():
        outcomes.setdefault(case.part, set()).add(case.outcome)
    stages: list[Stage] = []
    for alone, group in groupby(parts, key=lambda part: part.alone):
        if alone:
            stages += [[part] for part in group]
        else:
            pieces = [piece for part in group for piece in part.divided(processes)]
            stages.append(sorted(pieces, key=lambda part: (outcomes.get(part.name) == {"passed"}, -part.seconds)))
    return stages


def seconds_of(seconds: Sequence[float], processes: int) -> float:
    """The duration of a stage, from those of its parts."""
    return max(max(seconds), sum(seconds) / processes)


def run_stage(stage: Stage, processes: int, run: Callable[[Part, threading.Event], None]) -> None:
    """Run the parts of a stage, at most so many at the same time.

    Args:
        stage: The parts; the next one is started when one has ended.
        processes: The number of parts at the same time.
        run: Runs a part in a thread, and ends it early when the event is set: after Ctrl-C, or an error of another thread.
    """
    processes = min(processes, len(stage))
    waiting, stop = iter(stage), threading.Event()

    def lane(cpus: set[int]) -> None:
        if processes > 1 and len(cpus) > 1:
            with suppress(OSError):  # some sandboxes do not allow it
                os.sched_setaffinity(0, cpus)  # of this thread, and of the processes that it starts
        while not stop.is_set() and (part := next(waiting, None)):
            run(part, stop)

    cpus = sorted(os.sched_getaffinity(0))
    share = len(cpus) // processes
    with ThreadPoolExecutor(processes) as pool:
        lanes = [pool.submit(lane, set(cpus[number * share :][:share])) for number in range(processes)]
        try:
            for one in as_completed(lanes):
                one.result()
        finally:
            stop.set()


def unfinished(stage: Stage, journal: Journal) -> Stage:
    """The parts of a stage that were not started yet, or have cases left."""
    left = {case.part for case in cases_of(journal.path).values() if not case.done}
    planned = planned_parts(journal.path)
    return [part for part in stage if part.name in left or part.name not in planned]


def what_is_left(stages: Sequence[Stage], processes: int, journal: Journal) -> str:
    """One line: which cases another session would run, and how long it would take."""
    cases, earlier, planned = cases_of(journal.path), earlier_of(journal.path), planned_parts(journal.path)
    names = {part.name for stage in stages for part in stage}
    open_cases = [case for case in cases.values() if not case.done and case.part in names]
    remaining = [left for stage in stages if (left := unfinished(stage, journal))]
    if not remaining:
        return f"all {sum(case.done for case in cases.values())} cases have run"

    def seconds(part: Part) -> float:
        known = [case.seconds for case in cases.values() if case.part == part.name and case.done]
        usual = statistics.fmean(known) if known else 0.0
        waiting = [case for case in open_cases if case.part == part.name]
        if part.name not in planned:
            return part.seconds
        return _START + sum(earlier[case.name].seconds if case.name in earlier else usual for case in waiting)

    minutes = math.ceil(sum(seconds_of([seconds(part) for part in stage], processes) for stage in remaining) / 60)
    parts = [part.name for stage in remaining for part in stage if part.name not in planned]
    listed = [_count(len(open_cases), "case")] if open_cases else []
    listed += [f"{_count(len(parts), 'part')} ({', '.join(parts)})"] if parts else []
    return f"{' and '.join(listed)} not run: run the same command again, about {_count(minutes, 'minute')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


CASE_SECONDS = 180.0  # longer than any case takes; after it, a case counts as hanging
_GRACE = 10.0  # seconds that a part may exceed its time to finish its current case


@dataclass(frozen=True, slots=True)
class Part:
    """Cases that run in one process.

    Attributes:
        name: Name in the report.
        seconds: Its estimated duration on an H100, which determines its share of a session.
        arguments: Arguments of the Python interpreter.
        alone: Whether nothing else may run: it measures time, energy or memory, or fills the GPU's memory.
        pieces: The number of processes that it may be divided among.
        piece: The index of this one.
    """

    name: str
    seconds: float
    arguments: tuple[str, ...]
    alone: bool = False
    pieces: int = 1
    piece: int = 0

    def divided(self, processes: int) -> list[Part]:
        """Its pieces for at most so many processes."""
        count = min(self.pieces, processes)
        if count == 1:
            return [replace(self, pieces=1)]
        return [
            replace(
                self, name=f"{self.name} {piece + 1}/{count}", seconds=self.seconds / count, pieces=count, piece=piece
            )
            for piece in range(count)
        ]


Stage = list[Part]  # parts that run at the same time


ALONE, TOGETHER = "alone", "not alone"


def _tests(marker: str, *files: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marker, *(f"tests/gpu/{file}" for file in files))


def _checks(name: str, seconds: float, *files: str, pieces: int = 1) -> Part:
    """The tests of these files that may run beside others."""
    return Part(name, seconds, _tests(TOGETHER, *files), pieces=pieces)


def _figures(name: str, seconds: float, *groups: str) -> Part:
    return Part(name, seconds, ("-m", "benchmarks.gpu", *groups), alone=True)


# First time, energy and memory, on which all other figures depend, and the most requested figures. Then what may run at the same time, beside which the
# models that are measured next are compiled. Parts between two that run alone are started in the order of their seconds.
PARTS = (
    Part(
        "measuring",
        70,
        _tests(ALONE, "test_devices.py", "test_timing.py", "test_energy.py", "test_memory.py", "test_data.py"),
        alone=True,
    ),
    _figures("throughput", 150, "throughput"),
    Part("compiling", 300, ("-m", "benchmarks.gpu", "--prepare", "compiled"), pieces=3),
    _checks("models", 120, "test_models.py", pieces=3),
    _checks("programs", 130, "test_programs.py"),
    _checks("steps", 160, "test_steps.py", pieces=2),
    _checks("JAX", 150, "test_jax.py"),
    _checks("training", 80, "test_training.py"),
    _checks("serving", 40, "test_serving.py"),
    _checks("data", 40, "test_data.py"),
    _checks("ONNX Runtime", 40, "test_onnxruntime.py"),
    _checks("generation", 30, "test_generation.py"),
    _checks("providers", 50, "test_providers.py"),
    _checks("devices", 20, "test_devices.py", "test_driver.py"),
    _figures("compiled throughput", 80, "compiled"),
    _figures("overhead and data", 80, "overhead", "data"),
    Part(
        "memory and signals",
        330,
        _tests(
            ALONE,
            "test_programs.py",
            "test_disturbed.py",
            "test_training.py",
            "test_serving.py",
            "test_generation.py",
            "test_jax.py",
            "test_onnxruntime.py",
        ),
        alone=True,
    ),
)


def selected(parts: Iterable[Part], only: Collection[str], *, without_cpu: bool = False) -> list[Part]:
    """The requested parts of a session, in their order.

    Args:
        parts: All parts.
        only: Names of parts, and `tests` for those that run tests; all parts if it is empty.
        without_cpu: Omit the tests that do not need a GPU.
    """
    chosen = []
    for part in parts:
        marker = next((word for word in part.arguments if word in {ALONE, TOGETHER}), None)
        if only and part.name not in only and not (marker and "tests" in only):
            continue
        if marker and without_cpu:
            words = tuple(f"gpu and {word}" if word == marker else word for word in part.arguments)
            chosen.append(replace(part, arguments=words))
        else:
            chosen.append(part)
    return chosen


def run_part(
    part: Part,
    journal: Journal,
    environment: dict[str, str],
    deadline: float,
    log: Path,
    stop: threading.Event | None = None,
) -> None:
    """Run the remaining cases of a part, repeatedly if cases end its process, until the deadline.

    Args:
        part: The part.
        journal: Journal of the cases.
        environment: Environment of its processes.
        deadline: Seconds since 1970.
        log: File to which the output of each process is appended when it has ended.
        stop: Ends the part when another thread sets it.
    """
    stop = stop or threading.Event()
    variables = {
        **environment,
        JOURNAL: str(journal.path),
        PART: part.name,
        PIECE: f"{part.piece}/{part.pieces}",
        DEADLINE: str(deadline),
        SESSION: str(os.getpid()),
    }
    planned = False
    while time.time() < deadline and not stop.is_set() and (not planned or _left(part, journal)):
        before = _state(part, journal)
        own_log = log.with_name(f"{log.stem}-{part.name.replace(' ', '-').replace('/', '-of-')}{log.suffix}")
        with own_log.open("wb") as output:
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
                ended = _wait(process, part, journal, deadline, stop)
            finally:
                _end(process, part)
        with log.open("ab", buffering=0) as whole:
            whole.write(own_log.read_bytes())
        own_log.unlink()
        planned = True
        _explain(part, journal, process.returncode, ended)
        if _state(part, journal) == before:  # no progress: another attempt would not help
            if part.name not in planned_parts(journal.path) and ended != "stopped":
                reason = f"ended with exit code {process.returncode} before its first case: see {log.name}"
                journal.finish(Case(part.name, f"{part.name}: start", "crashed", reason=reason))
                journal.note(planned=part.name)
            return


def _of(part: Part, journal: Journal) -> list[Case]:
    return [case for case in cases_of(journal.path).values() if case.part == part.name]


def _left(part: Part, journal: Journal) -> list[Case]:
    return [case for case in _of(part, journal) if not case.done]


def _state(part: Part, journal: Journal) -> list[tuple[str, str]]:
    return [(case.name, case.outcome) for case in _of(part, journal) if case.done]


def _wait(
    process: subprocess.Popen[bytes], part: Part, journal: Journal, deadline: float, stop: threading.Event
) -> Literal["itself", "hanging", "stopped"]:
    """Wait for the process until the deadline plus the grace time; returns whether it ended by itself, or why it must be ended."""
    running, since = "", time.time()
    while True:
        try:
            process.wait(timeout=0.5)
            return "itself"
        except subprocess.TimeoutExpired:
            now = time.time()
        case = next((case.name for case in _of(part, journal) if case.outcome == "started"), "")
        if case != running:
            running, since = case, now
        if stop.is_set() or now > deadline + _GRACE:
            return "stopped"
        if now - since > CASE_SECONDS:
            return "hanging"


def _explain(part: Part, journal: Journal, code: int, ended: Literal["itself", "hanging", "stopped"]) -> None:
    """Record the case in which the process ended; a case for which the time was too short is tried again."""
    for case in _of(part, journal):
        if case.outcome != "started":
            continue
        if ended == "stopped":
            journal.stop(case)
            continue
        if ended == "hanging":
            case.outcome, case.reason, case.seconds = "timeout", f"did not end within {CASE_SECONDS:g} s", CASE_SECONDS
        elif code in (-signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT):
            continue
        else:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            case.outcome, case.reason = "crashed", f"the process ended ({how})"
        journal.finish(case)


def _end(process: subprocess.Popen[bytes], part: Part) -> None:
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
    while (left := _processes_of(part)) and time.monotonic() < end:
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        time.sleep(0.05)


def _processes_of(part: Part) -> list[int]:
    """Processes of this part, including those in separate process groups, found by the inherited environment variables."""
    marks = {f"{SESSION}={os.getpid()}".encode(), f"{PART}={part.name}".encode()}
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and marks <= set((place / "environ").read_bytes().split(b"\0")):
                found.append(int(place.name))
    return found
