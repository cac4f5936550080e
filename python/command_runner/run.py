"""Run a command repeatedly, measure each run, and print the results as log lines.

    python command_runner [--warmup N] [--batches N] [--min-seconds S] [--ignore-failure] [--prepare WORDS] [--cleanup WORDS] -- COMMAND ARGUMENTS...

It runs next to the command, also in containers, so it depends only on the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from command_runner.doubts import Load, short_number
from command_runner.environment import environment
from command_runner.process import CannotStartError, Invocation, Output, executable, invoke
from command_runner.report import KEY_LINE, Report, log_line, results

__all__ = ["main", "reason"]

_MOST_OUTPUT = 1 << 20  # characters of a run's output that are kept in the log
_SIGNALLED = 128


class FailedError(Exception):
    """A command failed: its exit code and its last output."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Runner:
    """Run the command, and print its output the first time and when it fails.

    Args:
        options: Options of `main`.

    Attributes:
        warmup: Warm-up runs.
        timed: Timed runs.
        report: Values that the command printed in timed runs.
        ignored: Number of failed runs that are counted anyway.
        load: Competing load during the runs.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.warmup: list[Invocation] = []
        self.timed: list[Invocation] = []
        self.report = Report()
        self.ignored = 0
        self.load: float | None = None
        self._path = executable(options.command)
        self._out, self._err = Output(), Output()
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._shown = False
        self._said = time.perf_counter()

    def run(self) -> None:
        """Warm up, then time the requested number of runs.

        Raises:
            FailedError: A run failed.
        """
        while len(self.warmup) < self.options.warmup:
            self.warmup.append(self._once(Report()))
            self._say("warm-up", self.warmup)
        load = Load()
        spent = 0.0
        while len(self.timed) < self.options.batches or spent < self.options.min_seconds:
            self.timed.append(self._once(self.report))
            spent += self.timed[-1].seconds
            self._say("run", self.timed)
        self.load = load.others()

    def _once(self, report: Report) -> Invocation:
        if self.options.prepare:
            self.help(self.options.prepare, "command.prepare")
        one = self._invoke(self._path, self.options.command)
        output, errors = self._out.take(), self._err.take()
        rest = report.take("\n".join([*output.splitlines(), *errors.splitlines()]))
        if one.code and self.options.ignore_failure:
            self.ignored += report is self.report
        elif one.code:
            _print(rest)
            own = report.values().get("exp.status_msg")  # printed by the command, in warm-up runs too
            raise FailedError(one.code, str(own) if own else reason(one.code, errors or output))
        if not self._shown:
            _print(rest)
            self._shown = True
        return one

    def help(self, command: Sequence[str], name: str) -> None:
        """Run a command that is not timed.

        Raises:
            FailedError: The command failed.
        """
        try:
            one = self._invoke(executable(command), command)
        except CannotStartError as error:
            raise FailedError(error.code, f"{name}: {error}") from None
        output, errors = self._out.take(), self._err.take()
        if one.code:
            _print([*output.splitlines(), *errors.splitlines()])
            raise FailedError(one.code, f"{name}: {reason(one.code, errors or output)}")

    def _invoke(self, path: str, command: Sequence[str]) -> Invocation:
        return invoke(path, command, (self._nothing, self._out.descriptor, self._err.descriptor))

    def _say(self, what: str, runs: Sequence[Invocation]) -> None:
        """Print progress, at most once per second, so that short commands do not produce long logs."""
        if time.perf_counter() - self._said >= 1:
            self._said = time.perf_counter()
            print(f"{what} {len(runs)}: {short_number(1000 * runs[-1].seconds)} ms", flush=True)


def _print(lines: Sequence[str]) -> None:
    text = "\n".join(lines)[-_MOST_OUTPUT:]
    if text.strip():
        print(text, flush=True)


def reason(code: int, output: str) -> str:
    """The reason of a failure in one line: the exit code, and the last output line with letters (torchrun ends with "=====")."""
    words = f"exit code {code}"
    if code > _SIGNALLED:
        with contextlib.suppress(ValueError):  # not the code of a signal
            words = f"ended by {signal.Signals(code - _SIGNALLED).name}"
    lines = [line.strip() for line in output.splitlines() if any(map(str.isalnum, line)) and not KEY_LINE.match(line)]
    last = "".join(letter if letter.isprintable() else "?" for letter in lines[-1]) if lines else ""
    return f"{words}: {last[:300]}" if last else words


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print log lines, and return the exit code: that of the command if it failed."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _end)  # so that command.cleanup runs after a time limit, too
    for key, value in environment().items():
        print(log_line(f"exp.env.{key}", value), flush=True)
    try:
        runner = Runner(options)
    except CannotStartError as error:
        return _failed(error.code, str(error))
    try:
        runner.run()
    except (CannotStartError, FailedError) as error:
        return _failed(error.code, str(error))
    finally:
        _clean_up(runner)
    printed = runner.report.values()
    for key, value in results(runner.warmup, runner.timed, printed, runner.load, runner.ignored).items():
        print(log_line(key, value))
    sys.stdout.flush()
    return 0


def _failed(code: int, why: str) -> int:
    print(log_line("exp.status_msg", why), flush=True)
    return code


def _clean_up(runner: Runner) -> None:
    """Run command.cleanup; print a warning if it fails, without affecting the results."""
    if runner.options.cleanup:
        try:
            runner.help(runner.options.cleanup, "command.cleanup")
        except FailedError as error:
            print(f"warning: {error}", flush=True)


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(_SIGNALLED + number)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--min-seconds", type=float, default=0.0)
    parser.add_argument("--ignore-failure", action="store_true")
    parser.add_argument("--prepare", type=shlex.split, default=[])
    parser.add_argument("--cleanup", type=shlex.split, default=[])
    words = list(arguments)
    if "--" not in words or not words[words.index("--") + 1 :]:
        parser.error("no command after --")
    at = words.index("--")
    options = parser.parse_args(words[:at])
    options.command = words[at + 1 :]
    return options
