"""Run the main script of a pack, under voir if it uses voir, and convert events of voir into log lines.

    python run.py [--voir] [--voirfile FILE] [--option NAME=VALUE]... [--batch N] -- main.py ARGUMENTS...
    python run.py --command [--option NAME=VALUE]... -- PROGRAM ARGUMENTS...
    python run.py --events [--stdout] [--stop N] [--batch N] -- PROGRAM ARGUMENTS...

The last form is for programs that report events themselves, under voir or not, as plans of benchfiles do. It runs in the pack's environment, also in
containers, so it depends only on the standard library.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # started as a file, from any directory
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import os
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

from pack_runner.events import Events, event_of, read_events
from pack_runner.script import Script
from pack_runner.unforeseen import guarded

__all__ = ["main"]

_NOTHING = "nothing was measured: {} printed no results; print lines such as __results.throughput__= 123.4, or wrap the loop in voir.iterate"
_NO_RATE = "no rate was measured: is the loop wrapped in voir.iterate(..., report_batch=True), and long enough?"


def print_lines(values: dict[str, Any]) -> None:
    """Print `__key__= json` lines; lists first, because single numbers are searched near the end of a log."""
    for key, value in sorted(values.items(), key=lambda item: not isinstance(item[1], list)):
        if value is not None:
            print(f"__{key}__= {json.dumps(value)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code, or 1 if it measured nothing."""
    options = _parse(arguments)
    script = options.script[1:] if options.script[:1] == ["--"] else options.script
    if options.voir:
        code, problem = _run_under_voir(script, options)
    elif options.events:
        code, problem = _run_with_events(script, dict(os.environ), options)
    elif options.command:
        os.environ["DLBS_VOIR_OPTIONS"] = json.dumps(dict(map(_option, options.option)))
        code, problem = _run(script, "the command")
    else:
        code, problem = _run([sys.executable, *script], script[0])
    if problem:
        print_lines({"exp.status_msg": " ".join(problem.split())})
    return code


def _run(command: Sequence[str], name: str) -> tuple[int, str]:
    """Exit code and problem; a script that reported nothing has failed, whatever its exit code."""
    script = Script(command)
    code = script.wait()
    if code == 0 and not script.has_result:
        return 1, _NOTHING.format(name)
    return code, ""


def _run_under_voir(words: Sequence[str], options: argparse.Namespace) -> tuple[int, str]:
    """Exit code and problem."""
    environment = dict(os.environ)
    if options.voirfile:
        environment["VOIRFILE"] = options.voirfile
    with tempfile.TemporaryDirectory() as directory:
        flags = []
        if options.option:
            config = Path(directory) / "options.json"
            config.write_text(json.dumps({"options": dict(map(_option, options.option))}))
            flags = ["--config", str(config)]
        return _run_with_events([sys.executable, "-m", "voir", *flags, *words], environment, options)


def _run_with_events(
    command: Sequence[str], environment: dict[str, str], options: argparse.Namespace
) -> tuple[int, str]:
    """Exit code and problem. Events arrive through a pipe (`DATA_FD`), or hidden in standard output."""
    events = Events(options.batch)
    lock = threading.Lock()
    ending: list[threading.Thread] = []
    started = threading.Event()

    def take(event: Any) -> None:
        with lock:
            events.take(event)
            enough = options.stop and any(len(rates) >= options.stop for rates in events.rates.values())
            events.stopped = events.stopped or bool(enough)
            if events.stopped and not ending:
                ending.append(threading.Thread(target=end))
                ending[0].start()

    def end() -> None:
        started.wait()
        script.end()

    read, write = os.pipe()
    environment["DATA_FD"] = "1" if options.stdout else str(write)
    environment["PYTHONUNBUFFERED"] = "1"
    script = Script(command, environment, [write], lambda line: take(event_of(line)))
    started.set()
    os.close(write)
    with os.fdopen(read, encoding="utf-8", errors="replace") as stream:
        for event in read_events(stream):
            take(event)
    code = script.wait()
    for thread in ending:
        thread.join()
    if script.in_line:
        print()
    print_lines(events.results())
    if events.stopped and events.rates:  # it was ended on purpose
        return 0, ""
    problem = next(iter(events.errors), "")
    if code == 0 and not events.rates and not (options.events and script.has_result):
        return 1, problem or _NO_RATE
    return code, problem


def _option(given: str) -> tuple[str, Any]:
    name, _, value = given.partition("=")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--voir", action="store_true", help="run the script under voir")
    parser.add_argument("--voirfile", default="", help="voirfile to use instead of those next to the script")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="option of the voirfile")
    parser.add_argument("--batch", type=int, default=0, metavar="N", help="batch size")
    parser.add_argument(
        "--events", action="store_true", help="the words after -- are a complete command that reports events"
    )
    parser.add_argument("--stop", type=int, default=0, metavar="N", help="end the script after N rates; 0: never")
    parser.add_argument("--stdout", action="store_true", help="read events that the script hides in standard output")
    parser.add_argument(
        "--command", action="store_true", help="the words after -- are a complete command, not a Python script"
    )
    parser.add_argument("script", nargs=argparse.REMAINDER, help="-- main.py and its arguments")
    options = parser.parse_args(arguments)
    if not options.script:
        parser.error("no script after --")
    return options


if __name__ == "__main__":
    sys.exit(guarded(main))
