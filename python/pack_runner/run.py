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
import math
import os
import re
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from benchmark_core.crash import guarded
from benchmark_core.load import end_family
from benchmark_core.log import key_line
from benchmark_core.provenance import provenance

GRACE = 10.0  # seconds between TERM and KILL

_NOTHING = "nothing was measured: {} printed no results; print lines such as __results.throughput__= 123.4, or wrap the loop in voir.iterate"
_NO_RATE = "no rate was measured: is the loop wrapped in voir.iterate(..., report_batch=True), and long enough?"
_MIB = 1 << 20
_MOST_LOSSES = 1000
_CODE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])"
)  # ECMA-48, and titles
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_HIDDEN = re.compile(rb"\x1b\[((?:[0-?][0-?])*)z")
_DIGITS = bytes.maketrans(b":;<=>?", b"abcdef")
_LONGEST_CODE = 1 << 20  # bytes; a code may hide a long event
_LONGEST_KEY = 4096
_RESULT = re.compile(rb"^[ \t]*__results\.[\w.]+__[ \t]*=", re.MULTILINE)


def print_lines(values: dict[str, Any]) -> None:
    """Print `__key__= json` lines; lists first, because single numbers are searched near the end of a log."""
    for key, value in sorted(values.items(), key=lambda item: not isinstance(item[1], list)):
        if value is not None:
            print(key_line(key, value), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code, or 1 if it measured nothing."""
    options = _parse(arguments)
    script = options.script[1:] if options.script[:1] == ["--"] else options.script
    is_program = options.events or options.command
    print_lines(provenance(script if is_program else [sys.executable, *script]))
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
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


class Script:
    """A running script whose output is copied into the log.

    Args:
        command: The command of the script.
        environment: Its environment; None for that of this process.
        pass_fds: File descriptors that it inherits.
        on_data: Called with lines that it hides in its output (`voir.smuggle`).

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        on_data: Callable[[str], None] | None = None,
    ) -> None:
        sys.stdout.flush()
        self._process = subprocess.Popen(
            command, env=environment, pass_fds=pass_fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._copiers = [Copier(self._process.stdout, 1, on_data), Copier(self._process.stderr, 2)]

    @property
    def has_result(self) -> bool:
        """Whether it has printed a result."""
        return any(copier.has_result for copier in self._copiers)

    @property
    def in_line(self) -> bool:
        """Whether its standard output ended with an incomplete line."""
        return self._copiers[0].in_line

    def wait(self) -> int:
        """Wait until it has ended and return its exit code, as in shells: 128 + n after signal n."""
        code = self._process.wait()
        for copier in self._copiers:
            copier.join(GRACE)  # a remaining process may keep the pipes open
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Terminate it and all its descendants; kill those that remain after `GRACE` seconds."""
        end_family(self._process.pid, GRACE)


class Events:
    """The events of a script.

    Args:
        batch: Batch size, to compute the batch time; 0 if unknown.

    Attributes:
        stopped: Whether it requested to be ended.
    """

    def __init__(self, batch: int = 0) -> None:
        self.batch = batch
        self.rates: dict[str, list[float]] = {}
        self.units = ""
        self.losses: list[float] = []
        self.gpus: dict[str, dict[str, list[float]]] = {}
        self.errors: list[str] = []
        self.stopped = False

    def take(self, event: Any) -> None:
        """Process one event; unknown events are ignored."""
        if not isinstance(event, dict):
            return
        task = str(event.get("task", ""))
        rate = _number(event.get("rate"))
        if rate is not None and rate > 0:
            self.rates.setdefault(task, []).append(rate)
            self.units = str(event.get("units", self.units))
        loss = _number(event.get("loss"))
        if loss is not None:
            self.losses.append(loss)
        gpus = event.get("gpudata")
        if isinstance(gpus, dict):
            for name, values in gpus.items():
                if isinstance(values, dict):
                    self._take_gpu(str(name), values)
        kind, data = event.get("$event"), event.get("$data")
        if kind == "stop":  # enough was measured: the program that started the script has to end it
            self.stopped = True
        if kind in {"error", "overseer_error"} and isinstance(data, dict) and data.get("type") != "StopProgram":
            self.errors.append(f"{data.get('type')}: {_without_advice(str(data.get('message')))}")

    def _take_gpu(self, name: str, values: dict[str, Any]) -> None:
        memory = values.get("memory")
        found = {
            "mem": _number(memory[0]) if isinstance(memory, list) and memory else None,
            "util": _number(values.get("load")),
            "power": _number(values.get("power")),
            "temp": _number(values.get("temperature")),
        }
        series = self.gpus.setdefault(name, {})
        for key, value in found.items():
            if value is not None:
                series.setdefault(key, []).append(value * {"mem": _MIB, "util": 100}.get(key, 1))

    def results(self) -> dict[str, Any]:
        """Log values; see docs/log-format.md. Training is preferred, then the task with most measurements."""
        found: dict[str, Any] = {}
        if self.rates:
            task = "train" if "train" in self.rates else max(self.rates, key=lambda name: len(self.rates[name]))
            rates = self.rates[task]
            mean = statistics.fmean(rates)
            found["results.throughput"] = mean
            found["results.throughput_data"] = rates
            found["results.throughput_std"] = statistics.stdev(rates) if len(rates) > 1 else None
            found["results.unit"] = self.units.removesuffix("/s") or "items"
            found["results.task"] = task
            if self.batch:
                times = [1000 * self.batch / rate for rate in rates]
                found["results.time"] = statistics.fmean(times)
                found["results.time_std"] = statistics.stdev(times) if len(times) > 1 else None
                found["results.time_data"] = times
        if self.losses:
            found["results.loss"] = self.losses[-1]
            found["results.loss_data"] = self.losses[-_MOST_LOSSES:]
        names = sorted(self.gpus, key=lambda name: (len(name), name))
        for key in ("mem", "util", "power", "temp"):
            rows = [self.gpus[name].get(key, []) for name in names]
            if any(rows):
                found[f"results.use.gpu_{key}"] = rows
        if "results.use.gpu_mem" in found:
            found["results.use.gpu_mem_peak"] = [max(row, default=0.0) for row in found["results.use.gpu_mem"]]
        return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        return None
    return number if math.isfinite(number) else None


def _without_advice(message: str) -> str:
    """A message without torch's advice to load files with `weights_only=False`, which would run code in them."""
    return "a file cannot be read as tensors" if "Weights only load failed" in message else message


def read_events(stream: IO[str]) -> Iterator[Any]:
    """Events, one JSON object per line; invalid lines are ignored, such as that of a program killed while writing."""
    for line in stream:
        event = event_of(line)
        if event is not None:
            yield event


def event_of(line: str) -> Any:
    """The event of a line; None if the line is not one."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # RecursionError: thousands of brackets
        return None


class TerminalCodes:
    """Remove terminal codes from a stream that arrives in pieces.

    Args:
        on_data: Called with lines that voir hides in codes unknown to terminals (`voir.smuggle`): hexadecimal digits from `0` to `?`,
            and a `z` at the end.
    """

    def __init__(self, on_data: Callable[[str], None] | None = None) -> None:
        self._begun = b""
        self._on_data = on_data
        self._data = b""

    def without(self, piece: bytes) -> bytes:
        """The text of a piece, and the rest of the previous one, that can be printed now."""
        text = _CODE.sub(self._remove, self._begun + piece)
        begun = _BEGUN.search(text)
        keep = len(text) if begun is None or len(begun[0]) > _LONGEST_CODE else begun.start()
        self._begun = text[keep:]
        return text[:keep]

    def _remove(self, code: re.Match[bytes]) -> bytes:
        hidden = _HIDDEN.fullmatch(code[0])
        if hidden is not None and self._on_data is not None:
            self._data += bytes.fromhex(hidden[1].translate(_DIGITS).decode())
            *lines, self._data = self._data.split(b"\n")
            for line in lines:
                self._on_data(line.decode("utf-8", "replace"))
        return b""

    def rest(self) -> bytes:
        """The rest that was held back, at the end of the stream."""
        rest, self._begun = self._begun, b""
        return rest


class Copier(threading.Thread):
    """Copy a pipe to a file descriptor, without terminal codes.

    Args:
        source: The pipe.
        target: The file descriptor.
        on_data: Called with lines that are hidden in terminal codes.

    Attributes:
        has_result: Whether a line `__results.NAME__=` was copied.
        in_line: Whether the last copied line was incomplete.
    """

    def __init__(self, source: IO[bytes], target: int, on_data: Callable[[str], None] | None = None) -> None:
        super().__init__(daemon=True)
        self.has_result = self.in_line = False
        self._on_data = on_data
        self._source, self._target = source, target
        self._line = b""
        self.start()

    def run(self) -> None:
        codes = TerminalCodes(self._on_data)
        while piece := os.read(self._source.fileno(), 1 << 16):
            self._pass_on(codes.without(piece))
        self._pass_on(codes.rest())

    def _pass_on(self, text: bytes) -> None:
        if text:
            self.in_line = not text.endswith(b"\n")
        if not self.has_result:
            seen = self._line + text
            self.has_result = _RESULT.search(seen) is not None
            self._line = seen[seen.rfind(b"\n") + 1 :][-_LONGEST_KEY:]
        while text:
            try:
                text = text[os.write(self._target, text) :]
            except OSError:  # the reader has gone: the program must not block
                return


if __name__ == "__main__":
    sys.exit(guarded(main))
