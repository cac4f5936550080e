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
import time
from pathlib import Path
from typing import Any

from scripts.gpu.journal import Case, Journal, cases_of, lines_of
from scripts.gpu.machine import ROOT, ask_machine, source_digest
from scripts.gpu.parts import PARTS, Part, run_part
from scripts.gpu.report import make_report, write_report
from scripts.gpu.wheels import install

__all__ = ["main"]

_LEFT_FOR_REPORT = 10.0  # seconds


def main(arguments: list[str] | None = None) -> int:
    """Run a session; 0 if nothing went wrong, 1 if a case failed, 2 without PyTorch, 130 if the session was interrupted."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # write the report, and leave no process on the GPU
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
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    machine = ask_machine(environment)
    session: dict[str, Any] = {
        "began": dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        "digest": source_digest(),
        "minutes": options.minutes,
        "machine": machine,
        "packages": {"installed": installed, "missing": missing},
        "parts": [part.name for part in PARTS],
    }
    _keep_what_counts(journal, session, again=options.again, whatever=options.keep)
    print(f"{machine.get('gpu') or machine.get('no_gpu') or machine.get('problem')}; report in {out}", flush=True)

    def report(interrupted: bool) -> dict[str, Any]:
        seconds = sum(
            line["session"]["seconds"] for line in lines_of(journal.path) if "seconds" in line.get("session", {})
        )
        made = make_report(
            {**session, "interrupted": interrupted, "seconds": seconds + time.time() - began},
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
    interrupted = True
    try:
        for part, deadline in _turns(options.only, began, end, journal):
            print(f"{part.name} …", end=" ", flush=True)
            run_part(part, journal, environment, deadline(), state / "log.txt")
            counts = report(interrupted=True)["counts"]
            print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())), flush=True)
        interrupted = False
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
    finally:
        made = report(interrupted)
        journal.note(seconds=round(time.time() - began, 1))
        if out != state and (state / "log.txt").exists():
            shutil.copyfile(state / "log.txt", out / "log.txt")
    print(f"{out / 'report.md'}", flush=True)
    if interrupted:
        return 130
    return int(any(made["counts"].get(outcome) for outcome in ("failed", "crashed", "timeout")))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make gpu", description="Test and measure everything that needs a GPU.")
    default = Path(os.environ.get("OUT") or ROOT / ".gpu")
    parser.add_argument("--out", type=Path, default=default, help="Directory of the report; $OUT, or .gpu.")
    parser.add_argument("--state", type=Path, default=ROOT / ".gpu", help="Directory for the state between sessions.")
    parser.add_argument("--resume", type=Path, help="journal.jsonl of an earlier session, possibly of another machine.")
    parser.add_argument(
        "--minutes", type=float, default=9.5, help="Total time; the next session runs the remaining cases."
    )
    parser.add_argument("--wheels", type=Path, default=ROOT / "wheels", help="Folder of wheels for missing packages.")
    parser.add_argument("--only", action="append", default=[], metavar="PART", choices=[part.name for part in PARTS])
    parser.add_argument("--again", action="store_true", help="Repeat failed cases.")
    parser.add_argument("--keep", action="store_true", help="Keep passed cases although the sources have changed.")
    return parser.parse_args(arguments)


def _turns(only: list[str], began: float, end: float, journal: Journal) -> Any:
    """The parts, each with its deadline; then, in the remaining time, the unfinished ones."""
    parts = [part for part in PARTS if not only or part.name in only]
    budget = sum(part.seconds for part in parts)
    given = 0.0
    for part in parts:
        given += part.seconds / budget * (end - began)
        until = began + given  # includes the unused time of earlier parts
        yield part, lambda until=until: until
    for part in parts:
        if time.time() < end and _unfinished(part, journal):
            yield part, lambda: end


def _unfinished(part: Part, journal: Journal) -> bool:
    return any(case.part == part.name and not case.done for case in cases_of(journal.path).values())


def _keep_what_counts(journal: Journal, session: dict[str, Any], *, again: bool, whatever: bool) -> None:
    """Start a new journal with the cases of the earlier one that need not be repeated."""
    setting = {
        "digest": session["digest"],
        "gpu": session["machine"].get("gpu"),
        "torch": session["machine"].get("torch"),
    }
    lines = list(lines_of(journal.path))
    noted = [line["session"] for line in lines if "session" in line]
    before = next((one["setting"] for one in noted if "setting" in one), setting)
    cases = list(cases_of(journal.path).values())
    same_place = all(before[name] == setting[name] for name in ("gpu", "torch"))
    kept: list[Case] = []
    if before == setting:
        kept = [case for case in cases if not again or case.outcome in {"passed", "skipped"} or not case.done]
    elif whatever and same_place:
        kept = [case for case in cases if case.outcome in {"passed", "skipped"}]
    journal.path.unlink(missing_ok=True)
    journal.note(setting=setting)
    for spent in noted if kept else ():
        if "seconds" in spent:
            journal.note(**spent)
    for case in kept:
        journal.keep(case)
    if cases and len(kept) < len(cases):
        why = "" if before == setting else ": the sources, the GPU or PyTorch have changed"
        print(f"{len(cases) - len(kept)} of {len(cases)} cases of the earlier session are run again{why}")


if __name__ == "__main__":
    sys.exit(main())
