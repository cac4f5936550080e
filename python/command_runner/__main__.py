"""Run a command repeatedly, measure each run, and print the results as log lines.

    python command_runner [--warmup N] [--batches N] [--min-seconds S] [--ignore-failure] [--prepare WORDS] [--cleanup WORDS] -- COMMAND ARGUMENTS...

It runs next to the command, also in containers, so it depends only on the standard library.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # started by the path of the directory, from anywhere
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import os
import resource
import shlex
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any, NamedTuple, NoReturn

from benchmark_core.crash import guarded
from benchmark_core.doubts import cpu_contention, drifted, slow_runs, warning
from benchmark_core.exits import SIGNALLED, BenchmarkError, exit_words
from benchmark_core.facts import host_facts, resident_peak
from benchmark_core.intervals import STEADY_WITHIN, drift, percentile
from benchmark_core.load import CompetingLoad
from benchmark_core.log import KEY_LINE, key_line
from benchmark_core.provenance import provenance
from benchmark_core.text import printable, short_number
from benchmark_core.turns import Turns

_MOST_OUTPUT = 1 << 20  # characters of a run's output that are kept in the log
_MOST_READ = 64 << 20  # bytes of an invocation's output that are searched for results
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit codes of shells
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_MS = 1000.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print log lines, and return the exit code: that of the command if it failed."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _end)  # so that command.cleanup runs after a time limit, too
    facts = {f"exp.env.{key}": value for key, value in host_facts().items()} | provenance(options.command)
    print("\n".join(key_line(key, value) for key, value in facts.items()), flush=True)
    try:
        runner = Runner(options)
    except BenchmarkError as error:
        return _failed(error)
    try:
        runner.run()
    except BenchmarkError as error:
        return _failed(error)
    finally:
        _clean_up(runner)
    printed = runner.report.values()
    if runner.turns is not None:
        print(*runner.turns.lines(), sep="\n")
    for key, value in results(runner.warmup, runner.timed, printed, runner.load.share, runner.ignored).items():
        print(key_line(key, value))
    sys.stdout.flush()
    return 0


def _failed(error: BenchmarkError) -> int:
    print(key_line("exp.status_msg", str(error)), flush=True)
    return error.exit_code


def _clean_up(runner: Runner) -> None:
    """Run command.cleanup; print a warning if it fails, without affecting the results."""
    if runner.options.cleanup:
        try:
            runner.help(runner.options.cleanup, "command.cleanup")
        except FailedError as error:
            print(f"warning: {error}", flush=True)


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(SIGNALLED + number)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
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


class FailedError(BenchmarkError):
    """A command failed, or cannot be started: its exit code, or that of a shell in this case, and the reason."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.exit_code = code


class Runner:
    """Run the command, and print its output the first time and when it fails.

    Args:
        options: Options of `main`.

    Attributes:
        warmup: Warm-up runs.
        timed: Timed runs.
        report: Values that the command printed in timed runs.
        ignored: Number of failed runs that are counted anyway.
        load: Competing load during the timed runs.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.warmup: list[Invocation] = []
        self.timed: list[Invocation] = []
        self.report = Report()
        self.ignored = 0
        self.load = CompetingLoad()
        self.turns = Turns.from_environment()
        self._path = executable(options.command)
        self._out, self._err = Output(), Output()
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._shown = False
        self._said = time.perf_counter()

    def run(self) -> None:
        """Warm up, then time the requested number of runs, or those that fit into the turns of this process.

        Raises:
            FailedError: A run failed.
        """
        order = None if self.turns is None else iter(self.turns)
        if order is not None:
            next(order)  # the first turn is for warm-up
        while len(self.warmup) < self.options.warmup:
            self.warmup.append(self._once(Report()))
            self._say("warm-up", self.warmup)
        for seconds in order or ():
            assert self.turns is not None
            self.load.start()
            before = len(self.timed)
            while sum(one.seconds for one in self.timed[before:]) < seconds:
                self.timed.append(self._once(self.report))
            self.load.stop()
            turn = [one.seconds for one in self.timed[before:]]
            printed = self.report.times[-len(turn) :]
            own = len(self.report.times) == len(self.timed) and all(map(_is_number, printed))
            self.turns.add(len(turn), sum(printed) / _MS if own else sum(turn), self.load.last_share)
        if order:
            return
        self.load.start()
        spent = 0.0
        while len(self.timed) < self.options.batches or spent < self.options.min_seconds:
            self.timed.append(self._once(self.report))
            spent += self.timed[-1].seconds
            self._say("run", self.timed)
        self.load.stop()

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
        except FailedError as error:
            raise FailedError(error.exit_code, f"{name}: {error}") from None
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
    """The reason of a failure in one line: the exit code, and the last output line that has letters and is no hint at --help."""
    lines = [line.strip() for line in output.splitlines() if any(map(str.isalnum, line)) and not KEY_LINE.match(line)]
    lines = [line for line in lines if not (line.startswith(("Try ", "See ")) and "--help" in line)] or lines
    last = printable(lines[-1]) if lines else ""
    return exit_words(code) + (f": {last[:300]}" if last else "")


class Invocation(NamedTuple):
    """One run of the command: its exit code (128 + N after signal N), wall time in seconds, and resource usage."""

    code: int
    seconds: float
    usage: resource.struct_rusage


class Output:
    """The destination of one stream of the command: a file, because a full pipe would block the command."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()
        self.descriptor = self._file.fileno()

    def take(self) -> str:
        """The output since the last call; only the end of very long output."""
        size = os.fstat(self.descriptor).st_size
        if not size:
            return ""
        start, parts = max(0, size - _MOST_READ), []
        while start < size:
            parts.append(os.pread(self.descriptor, size - start, start))
            start += len(parts[-1]) or size
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return b"".join(parts).decode("utf-8", "replace")


def executable(command: Sequence[str]) -> str:
    """The path of the program that a command starts.

    Raises:
        FailedError: The program does not exist.
    """
    found = shutil.which(command[0])
    if found:
        return found
    there = os.path.exists(command[0]) and os.sep in command[0]
    if there:
        raise FailedError(_NOT_EXECUTABLE, f"{command[0]} is not executable")
    raise FailedError(_NOT_FOUND, f"program {command[0]!r} not found")


def invoke(path: str, command: Sequence[str], streams: tuple[int, int, int]) -> Invocation:
    """Run a command once and measure it.

    posix_spawn shares memory with the child until it executes the command (vfork), so its time is independent of the size of this process.

    Args:
        path: The program.
        command: Its arguments, the first of which is its name.
        streams: Its standard input, output and error.

    Raises:
        FailedError: The kernel cannot start it.
    """
    files = [(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in enumerate(streams)]
    # Encode to bytes before the clock starts: encoding the environment takes a tenth of the time of `true`.
    words, environment = [os.fsencode(word) for word in command], dict(os.environb)
    begin = time.perf_counter()
    try:
        # Python ignores these signals; restore the default for the command.
        pid = os.posix_spawn(path, words, environment, file_actions=files, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        raise FailedError(_NOT_EXECUTABLE, f"{command[0]}: {error.strerror}") from None
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    return Invocation(code, seconds, usage)


class Report:
    """The values that the command printed in `__key__= json` lines."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}

    def take(self, output: str) -> list[str]:
        """Collect the results in the output of one run; return the other lines."""
        rest = []
        printed: dict[str, Any] = {}
        for line in output.splitlines():
            found = KEY_LINE.match(line)
            try:
                if found is None:
                    rest.append(line)
                else:
                    printed[found[1]] = json.loads(found[2])
            except (ValueError, RecursionError):
                rest.append(line)  # the log parser reports that it is malformed
        for key, value in printed.items():
            self._values.setdefault(key, []).append(value)
        return rest

    @property
    def times(self) -> list[Any]:
        """`results.time` of the runs that printed it."""
        return self._values.get("results.time", [])

    def values(self) -> dict[str, Any]:
        """Key → the mean of numbers over runs, batch times of all runs in one list, or otherwise the last value."""
        found: dict[str, Any] = {}
        for key, values in self._values.items():
            if key == "results.time_data" and all(isinstance(one, list) for one in values):
                found[key] = [item for one in values for item in one]
            elif key.startswith("results.") and all(map(_is_number, values)):
                found[key] = values[0] if len(set(values)) == 1 else statistics.fmean(values)
                if key in {"results.time", "results.throughput"} and len(values) > 1:
                    found.setdefault(f"{key}_data", values)
            else:
                found[key] = values[-1]
        return found


def _is_number(value: Any) -> bool:
    """Whether a value is a number usable for statistics: an integer of 400 digits is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def results(
    warmup: Sequence[Invocation], runs: Sequence[Invocation], printed: dict[str, Any], load: float | None, ignored: int
) -> dict[str, Any]:
    """All log values, the longest first: short values are searched near the end of a log.

    Values that the command printed win over measured ones.

    Args:
        warmup: The warm-up runs.
        runs: The timed runs.
        printed: The values that the command printed.
        load: Share of the CPUs that other processes used.
        ignored: Runs that failed and are counted anyway.
    """
    usages = [one.usage for one in runs]
    preemptions = sum(usage.ru_nivcsw for usage in usages)
    found: dict[str, Any] = {}
    if "results.time" in printed or "results.time_data" in printed:
        own = printed.get("results.time_data")
        times = own if isinstance(own, list) and all(map(_is_number, own)) else []
    else:
        times = [_MS * one.seconds for one in runs]
        found["results.time_warmup_data"] = [_MS * one.seconds for one in warmup]
        found["results.time_first_batch"] = _MS * (*warmup, *runs)[0].seconds
    found |= _time_values(times) if times else {}
    found |= {
        "results.time_user": _MS * statistics.fmean(usage.ru_utime for usage in usages),
        "results.time_system": _MS * statistics.fmean(usage.ru_stime for usage in usages),
        "results.memory_host": _memory(max(usage.ru_maxrss for usage in usages)),
        "results.page_faults": statistics.fmean(usage.ru_minflt for usage in usages),
        "results.page_faults_major": statistics.fmean(usage.ru_majflt for usage in usages),
        "results.context_switches": sum(usage.ru_nvcsw for usage in usages),
        "results.context_switches_involuntary": preemptions,
        "results.competing_load": load,
        "results.invocations": len(runs),
    }
    warnings = [*cpu_contention(load, preemptions), *drifted(times), *slow_runs(times)]
    if ignored:
        warnings.append(warning("failures", f"{ignored} of {len(runs)} runs exited with a nonzero code"))
    more = printed.get("results.warnings")
    found |= printed
    if warnings:
        found["results.warnings"] = [*warnings, *(more if isinstance(more, list) else [])]
    return dict(sorted(found.items(), key=lambda item: not isinstance(item[1], list) or item[0] == "results.warnings"))


def _memory(most: int) -> int | None:
    """Peak memory of the command in bytes; None if unknown.

    The kernel's count begins with the memory of the parent process, so peaks below the size of this process are unknown. That count is also
    the fallback for this process where /proc does not have its own peak.
    """
    memory = most * _MAXRSS_UNIT
    own = resident_peak() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    return memory if memory > own else None


def _time_values(times: Sequence[float]) -> dict[str, Any]:
    """Statistics of times in ms."""
    ordered, moved = sorted(times), drift(times)
    found: dict[str, Any] = {
        "results.time_data": list(times),
        "results.time": statistics.fmean(times),
        "results.time_std": statistics.stdev(times) if len(times) > 1 else None,
        "results.time_min": ordered[0],
        "results.time_median": statistics.median(times),
        "results.time_p50": percentile(ordered, 0.5),
        "results.time_p90": percentile(ordered, 0.9),
        "results.time_p99": percentile(ordered, 0.99),
        "results.time_max": ordered[-1],
    }
    if moved is not None:
        found |= {"results.drift": moved, "results.steady": abs(moved) <= STEADY_WITHIN}
    return found


if __name__ == "__main__":
    sys.exit(guarded(main))
