"""When the parts of a session run: those that may, at the same time, on separate CPUs; and what is left at the end."""

from __future__ import annotations

import math
import os
import statistics
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from itertools import groupby

from scripts.gpu.journal import Journal, cases_of, earlier_of, planned_parts
from scripts.gpu.parts import Part

__all__ = ["Stage", "processes_for", "run_stage", "seconds_of", "stages_of", "unfinished", "what_is_left"]

Stage = list[Part]  # parts that run at the same time
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
