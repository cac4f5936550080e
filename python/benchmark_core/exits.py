"""All exit codes: those of `dlbs`, and those that it interprets of programs that it starts.

Only codes up to 125 are free: shells define 126, 127 and 128 + n.
"""

from __future__ import annotations

import signal

OK = 0
FAILED = 1
WRONG_INPUT = 2
REGRESSION = 3
UNDECIDED = 4
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
UNFORESEEN = 70  # EX_SOFTWARE of sysexits.h
SIGNALLED = 128
INTERRUPTED = SIGNALLED + 2
OUT_OF_MEMORY = 3
SKIPPED = 77  # as for Automake's tests
BISECT_SKIP = 125  # as for git bisect run

# Program, code, meaning; docs/command-line.md has the same rows.
EXIT_CODES: tuple[tuple[str, str, str], ...] = (
    ("dlbs", f"{OK}", "success"),
    ("dlbs", f"{FAILED}", "an experiment failed, all were skipped, or the deadline passed"),
    ("dlbs", f"{WRONG_INPUT}", "wrong input, standard output cannot be written, or nothing could be started"),
    ("dlbs", f"{REGRESSION}", "regression (`--fail-on-regression` of `dlbs compare` and `dlbs run`)"),
    ("dlbs", f"{UNDECIDED}", "`dlbs run --until-known` ended with undecided pairs, and nothing failed"),
    (
        "dlbs",
        f"{UNAVAILABLE}",
        "stopped by a fault of the machine, a service or a directory; the same command runs the rest",
    ),
    (
        "dlbs",
        f"{UNFORESEEN}",
        "unexpected error, a bug in dlbs; the message names a file with the details",
    ),
    ("dlbs", f"{SIGNALLED} + n", f"stopped by signal n; {INTERRUPTED} is Ctrl-C"),
    ("a benchmark", f"{OK}", "`exp.status` is ok"),
    ("a benchmark", f"{OUT_OF_MEMORY}", "out of memory: failure, and larger batches are skipped"),
    ("a benchmark", f"{SKIPPED}", "not supported here: skipped"),
    (
        "a benchmark",
        f"{UNAVAILABLE}",
        "something that it needs is not available now, such as a server or a node: no result, the plan stops, and runs it again next time",
    ),
    (
        "a benchmark",
        f"{UNFORESEEN}",
        "unexpected error, a bug in the benchmark program; the message names a file with the details: failure",
    ),
    ("a benchmark", "any other", "failure"),
    ("the command of `dlbs bisect`", f"{BISECT_SKIP}", "this candidate cannot be measured"),
)


def exit_words(code: int) -> str:
    """An exit code in words: `exit code 1`, or `ended by SIGKILL` for -9, and for 137, as shells give it."""
    try:
        return f"ended by {signal.Signals(-code if code < 0 else code - SIGNALLED).name}"
    except ValueError:
        return f"exit code {code}"


class BenchmarkError(Exception):
    """The benchmark cannot continue; the message states the problem and the fix. Exit code 1."""

    exit_code = 1


class UsageError(BenchmarkError):
    """An option is invalid or unsupported on this machine. Exit code 2."""

    exit_code = 2


class UnknownModelError(UsageError, LookupError):
    """The model is unknown."""


class OutOfMemoryError(BenchmarkError):
    """The model and its batch do not fit into memory. Exit code 3, which launchers recognise."""

    exit_code = 3


class UnavailableError(BenchmarkError):
    """Something that every experiment of the plan may need is not available now, such as a server. Exit code 69, which launchers recognise."""

    exit_code = UNAVAILABLE


class LostReplicaError(BenchmarkError):
    """Another replica has ended or cannot be reached."""


class SkippedError(BenchmarkError):
    """The model does not support the request, which is no failure. Exit code 77, the usual one of skipped tests."""

    exit_code = 77
