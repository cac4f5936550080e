"""Run the main script of a pack, under voir if it uses it, and turn what voir tells of it into log lines.

    python run.py [--voir] [--voirfile FILE] [--option NAME=VALUE]... [--batch N] -- main.py ARGUMENTS...

It runs in the pack's environment, also inside containers, so it needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

__all__ = ["Events", "main"]

_MIB = 1 << 20
_MOST_LOSSES = 1000


class Events:
    """What a script told while it ran.

    Args:
        batch: Instances in a batch, to work out the time of one; 0 if that is not known.
    """

    def __init__(self, batch: int = 0) -> None:
        self.batch = batch
        self.rates: dict[str, list[float]] = {}
        self.units = ""
        self.losses: list[float] = []
        self.gpus: dict[str, dict[str, list[float]]] = {}
        self.errors: list[str] = []

    def take(self, event: Any) -> None:
        """Look at one event; what it is not about is passed over."""
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
        """Log values; docs/log-format.md says what each means. Training counts first, then the task with most measurements."""
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


def _without_advice(message: str) -> str:
    """torch advises to load files with `weights_only=False`, which would run code that is in them."""
    return "a file cannot be read as tensors" if "Weights only load failed" in message else message


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of 400 digits
        return None
    return number if math.isfinite(number) else None


def read_events(stream: IO[str]) -> Iterator[Any]:
    """Events, one JSON object a line; a line that is none is passed over, as when the program was killed while it wrote."""
    for line in stream:
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):  # the latter of thousands of brackets
            continue


def print_lines(values: dict[str, Any]) -> None:
    """Print `__key__= json` lines; lists first, because single numbers are looked for near the end of a log."""
    for key, value in sorted(values.items(), key=lambda item: not isinstance(item[1], list)):
        if value is not None:
            print(f"__{key}__= {json.dumps(value)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code."""
    options = _parse(arguments)
    script = options.script[1:] if options.script[:1] == ["--"] else options.script
    if not options.voir:
        return subprocess.run([sys.executable, *script], check=False).returncode
    events = Events(options.batch)
    environment = dict(os.environ)
    if options.voirfile:
        environment["VOIRFILE"] = options.voirfile
    with tempfile.TemporaryDirectory() as directory:
        flags = []
        if options.option:
            config = Path(directory) / "options.json"
            config.write_text(json.dumps({"options": dict(map(_option, options.option))}))
            flags = ["--config", str(config)]
        read, write = os.pipe()
        environment["DATA_FD"] = str(write)
        with subprocess.Popen(
            [sys.executable, "-m", "voir", *flags, *script], env=environment, pass_fds=[write]
        ) as process:
            os.close(write)
            with os.fdopen(read, encoding="utf-8", errors="replace") as stream:
                for event in read_events(stream):
                    events.take(event)
            code = process.wait()
    print_lines(events.results())
    problem = next(iter(events.errors), "")
    if code == 0 and not events.rates:
        problem = (
            problem
            or "no rate was measured: is the loop wrapped in voir.iterate(..., report_batch=True), and long enough?"
        )
        code = 1
    if problem:
        print_lines({"exp.status_msg": " ".join(problem.split())})
    return code


def _option(given: str) -> tuple[str, Any]:
    name, _, value = given.partition("=")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--voir", action="store_true", help="run it under voir")
    parser.add_argument("--voirfile", default="", help="voirfile to use instead of those beside the script")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="option of the voirfile")
    parser.add_argument("--batch", type=int, default=0, metavar="N", help="instances in a batch")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="-- main.py and its arguments")
    options = parser.parse_args(arguments)
    if not options.script:
        parser.error("which script?")
    return options


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from pack_runner.unforeseen import guarded

    sys.exit(guarded(main))
