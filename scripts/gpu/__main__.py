"""Test and measure everything that needs a GPU, and write a report.

    make gpu                         ten minutes; run again, it continues after an interruption
    python -m scripts.gpu --help

It uses the PyTorch of the interpreter that runs it, needs no network and no virtual environment, and installs nothing into the interpreter: missing packages
are installed from a folder of wheels (`make gpu-wheels`) into a separate directory. Without a GPU, it reports for each case why it was skipped.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.journal import Case, Journal, cases_of, earlier_of, lines_of
from scripts import ROOT
from scripts.gpu.machine import ask_machine, source_digest
from scripts.gpu.parts import (
    PARTS,
    Part,
    Stage,
    processes_for,
    run_part,
    run_stage,
    seconds_of,
    selected,
    stages_of,
    unfinished,
    what_is_left,
)
from scripts.gpu.report import NOT_RUN, make_report, write_report
from scripts.gpu.wheels import install

_LEFT_FOR_REPORT = 10.0  # seconds


def main(arguments: list[str] | None = None) -> int:
    """Run a session; 0 if nothing went wrong, 1 if a case failed, 2 without PyTorch, 130 if the session was interrupted."""
    options = _options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)  # write the report, and leave no process on the GPU
    began = time.time()
    out: Path = options.out
    state: Path = options.state
    for directory in (out, state):
        directory.mkdir(parents=True, exist_ok=True)
    journal = Journal(state / "journal.jsonl")
    if options.resume:
        shutil.copyfile(options.resume, journal.path)
    installed, missing = install(options.wheels, state / "site")
    paths = [str(ROOT), str(ROOT / "python"), str(state / "site"), os.environ.get("PYTHONPATH", "")]
    environment = {
        # What one process compiles, another one and the next session find.
        "TORCHINDUCTOR_CACHE_DIR": str(state / "inductor"),
        # JAX would take most of the memory of a GPU that others use, too.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
    }
    machine = ask_machine(environment)
    session: dict[str, Any] = {
        "began": dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        "digest": source_digest(),
        "minutes": options.minutes,
        "machine": machine,
        "packages": {"installed": installed, "missing": missing},
    }
    _keep_what_counts(journal, session, again=options.again, whatever=options.keep, without_cpu=options.without_cpu)
    processes = max(1, options.processes or processes_for(len(os.sched_getaffinity(0))))
    session["parts"] = [part.name for stage in stages_of(PARTS, processes, journal) for part in stage]
    stages = stages_of(selected(PARTS, options.only, without_cpu=options.without_cpu), processes, journal)
    print(f"{machine.get('gpu') or machine.get('no_gpu') or machine.get('problem')}; report in {out}", flush=True)

    def report(interrupted: bool) -> dict[str, Any]:
        notes = [line["session"] for line in lines_of(journal.path) if "session" in line]
        seconds_of_parts: Counter[str] = Counter()
        for note in notes:
            seconds_of_parts.update(note.get("part_seconds", {}))
        made = make_report(
            {
                **session,
                "interrupted": interrupted,
                "seconds": sum(note.get("seconds", 0.0) for note in notes) + time.time() - began,
                "part_seconds": {name: round(seconds, 1) for name, seconds in seconds_of_parts.items()},
            },
            cases_of(journal.path).values(),
        )
        write_report(made, out)
        if out != state:
            shutil.copyfile(journal.path, out / journal.path.name)
        return made

    if machine.get("torch") is None:
        report(interrupted=True)
        why = machine.get("no_gpu") or machine.get("problem")
        print(
            f"error: {sys.executable}: {why}; use an interpreter that has PyTorch: make gpu PYTHON=...",
            file=sys.stderr,
        )
        return 2

    end = began + 60 * options.minutes - _LEFT_FOR_REPORT
    one_at_a_time = threading.Lock()  # parts that end at the same time

    def run(deadline: float, part: Part, stop: threading.Event) -> None:
        start = time.time()
        run_part(part, journal, environment, deadline, state / "log.txt", stop)
        with one_at_a_time:
            journal.note(part_seconds={part.name: round(time.time() - start, 1)})
            cases = [case for case in report(interrupted=True)["cases"] if case["part"] == part.name]
            print(f"{time.time() - began:4.0f} s  {part.name}: {_counted(cases) or NOT_RUN}", flush=True)

    interrupted = True
    try:
        for stage, deadline in _turns(stages, processes, began, end, journal):
            how = f"{processes} at a time: " if min(processes, len(stage)) > 1 else ""
            print(f"{time.time() - began:4.0f} s  {how}{', '.join(part.name for part in stage)} …", flush=True)
            run_stage(stage, processes, partial(run, deadline))
        interrupted = False
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
    finally:
        made = report(interrupted)
        journal.note(seconds=round(time.time() - began, 1))
        if out != state and (state / "log.txt").exists():
            shutil.copyfile(state / "log.txt", out / "log.txt")
    print(f"{_counted(made['cases'])}: {out / 'report.md'}")
    print(what_is_left(stages, processes, journal), flush=True)
    if interrupted:
        return 130
    return int(any(made["counts"].get(outcome) for outcome in ("failed", "crashed", "timeout")))


def _interrupt(number: int, frame: object) -> None:
    """Only the first signal counts: ending all parts and writing the report takes seconds."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: None)
    raise KeyboardInterrupt


def _counted(cases: list[dict[str, Any]]) -> str:
    counts = Counter(case["outcome"] for case in cases)
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make gpu", description="Test and measure everything that needs a GPU.")
    default = _absolute(os.environ.get("OUT") or str(ROOT / ".gpu"))
    parser.add_argument("--out", type=_absolute, default=default, help="Directory of the report; $OUT, or .gpu.")
    parser.add_argument(
        "--state", type=_absolute, default=ROOT / ".gpu", help="Directory for the state between sessions."
    )
    parser.add_argument("--resume", type=Path, help="journal.jsonl of an earlier session, possibly of another machine.")
    parser.add_argument(
        "--minutes", type=float, default=9.5, help="Total time; the next session runs the remaining cases."
    )
    parser.add_argument("--wheels", type=Path, default=ROOT / "wheels", help="Folder of wheels for missing packages.")
    names = ["tests", *(part.name for part in PARTS)]
    only = f"Run this part, or all parts that run tests; may be repeated: {', '.join(names)}."
    parser.add_argument("--only", action="append", default=[], metavar="PART", choices=names, help=only)
    parser.add_argument("--without-cpu", action="store_true", help="Omit the tests that do not need a GPU.")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="Parts at the same time, where nothing is measured; a third of the CPUs.",
    )
    parser.add_argument("--again", action="store_true", help="Repeat failed cases.")
    parser.add_argument("--keep", action="store_true", help="Keep passed cases although the sources have changed.")
    return parser.parse_args(arguments)


def _absolute(text: str) -> Path:
    return Path(text).resolve()  # the parts run in the root of the repository


def _turns(
    stages: list[Stage], processes: int, began: float, end: float, journal: Journal
) -> Iterator[tuple[Stage, float]]:
    """The stages, each with its deadline; then, in the remaining time, the unfinished parts."""
    shares = [seconds_of([part.seconds for part in stage], processes) for stage in stages]
    given = 0.0
    for stage, share in zip(stages, shares, strict=True):
        given += share / sum(shares) * (end - began)
        if left := unfinished(stage, journal):
            yield left, began + given  # includes the unused time of earlier stages
    for stage in stages:
        if time.time() < end and (left := unfinished(stage, journal)):
            yield left, end


def _keep_what_counts(
    journal: Journal, session: dict[str, Any], *, again: bool, whatever: bool, without_cpu: bool = False
) -> None:
    """Start a new journal with the cases of the earlier one that need not be repeated."""
    setting = {
        "digest": session["digest"],
        "gpu": session["machine"].get("gpu"),
        "torch": session["machine"].get("torch"),
    }
    lines = list(lines_of(journal.path))
    noted = [line["session"] for line in lines if "session" in line]
    before = next((one["setting"] for one in noted if "setting" in one), setting)
    omitted = next((one.get("without_cpu", False) for one in noted if "setting" in one), without_cpu)
    cases, earlier = list(cases_of(journal.path).values()), earlier_of(journal.path)
    same_place = all(before[name] == setting[name] for name in ("gpu", "torch"))
    kept: list[Case] = []
    if before == setting:
        kept = [case for case in cases if not again or case.outcome in {"passed", "skipped"} or not case.done]
    elif whatever and same_place:
        kept = [case for case in cases if case.outcome in {"passed", "skipped"}]
    journal.path.unlink(missing_ok=True)
    journal.note(setting=setting, without_cpu=without_cpu)
    names = {case.name for case in kept}
    repeated = [case for case in cases if case.name not in names]
    open_parts = {case.part for case in repeated}
    are_complete = before == setting and omitted == without_cpu
    for note in noted if kept else ():
        planned = note.get("planned")
        if "setting" not in note and (planned is None or (are_complete and planned not in open_parts)):
            journal.note(**note)
    for case in kept:
        journal.keep(case)
    for case in (earlier | {case.name: case for case in repeated if case.done}).values():
        journal.remember(case)
    if cases and len(kept) < len(cases):
        why = "" if before == setting else ": the sources, the GPU or PyTorch have changed"
        print(f"{len(cases) - len(kept)} of {len(cases)} cases of the earlier session are run again{why}")


if __name__ == "__main__":
    sys.exit(main())
