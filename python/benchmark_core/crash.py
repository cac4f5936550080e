"""Unforeseen errors: one line that names a file with the details, instead of a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from benchmark_core.exits import INTERRUPTED, UNFORESEEN, WRONG_INPUT
from benchmark_core.log import LOG_VARIABLE, key_line
from benchmark_core.text import one_line, printable

_IN_CONTAINER = "DLBS_IN_CONTAINER"  # environment variable set by launchers


def guarded(main: Callable[[], int]) -> int:
    """Run a program and return its exit code; errors become one line, or with `--debug` a traceback."""
    undo_inherited()
    if sys.stdout is None:  # closed
        sys.stdout = open(os.devnull, "w")
    try:
        code = main()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        problem, code = "interrupted", INTERRUPTED
    except Exception as error:
        problem, code = cannot_write(), WRONG_INPUT
        if not problem:
            if "--debug" in sys.argv:
                raise
            problem, code = keep(error), UNFORESEEN
            print(key_line("exp.status_msg", problem), flush=True)
    print(f"error: {problem}", file=sys.stderr, flush=True)
    return code


def undo_inherited() -> None:
    """Undo what whoever started the program may have left.

    Blocked signals end no wait, exit codes of children are lost if SIGCHLD is ignored, and some umasks deny the user his own files.
    """
    os.umask(os.umask(0o077) & 0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def report_crash(error: Exception) -> None:
    """Print the one line of an error that is a bug of ours."""
    print(f"error: {keep(error)}", file=sys.stderr)


def keep(error: Exception) -> str:
    """Save the details of an unforeseen error; return the message with their location.

    They go to a new file, readable only by the user: next to the log if a launcher started the program, otherwise in the directory of
    temporary files. Files of a container are deleted with it, so there the details are the value `exp.error_details` of the log.
    """
    import traceback

    program = _program(error)
    traceback.clear_frames(error.__traceback__)  # after a MemoryError this frees the memory of their variables
    try:
        details = f"details: {_write(error, program)}"
    except (OSError, MemoryError) as problem:
        details = f"details cannot be written: {problem}; --debug shows them"
    words = one_line(f"{type(error).__name__}: {error}")
    return f"unexpected error, a bug in {program}: {words} ({printable(details)})"


def cannot_write() -> str:
    """Reason why standard output cannot be written; empty if it can. Otherwise pending output is discarded."""
    try:
        print(flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output cannot be written: {error.strerror}"
    return ""


def _program(error: Exception) -> str:
    """Package of the outermost function in a traceback outside this package, which every program has in common."""
    here, trace, package = os.path.dirname(os.path.abspath(__file__)), error.__traceback__, ""
    while trace is not None:
        package = os.path.dirname(os.path.abspath(trace.tb_frame.f_code.co_filename))
        if package != here:
            break
        trace = trace.tb_next
    while os.path.exists(os.path.join(os.path.dirname(package), "__init__.py")):
        package = os.path.dirname(package)
    return os.path.basename(package) or "this program"


def _write(error: Exception, program: str) -> str:
    """Write the details; return their location."""
    import platform
    import shlex
    import traceback

    version = getattr(sys.modules.get(program), "__version__", "")
    about = f"{program} {version}".rstrip() + f", Python {platform.python_version()}, {platform.platform()}"
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text = f"{about}\n{shlex.join(sys.argv)}\n\n{trace}"
    directory, log = os.path.split(os.environ.get(LOG_VARIABLE, ""))
    beside = bool(log) and os.access(directory or ".", os.W_OK)
    if os.environ.get(_IN_CONTAINER) and not beside:
        print(key_line("exp.error_details", text), flush=True)
        return "exp.error_details in the log"
    descriptor, name = _create(directory or ".", log if beside else "", program)
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
    return name


def _create(directory: str, log: str, program: str) -> tuple[int, str]:
    """Create a file; mkstemp uses O_EXCL and mode 0600."""
    import tempfile

    if log:
        try:
            return tempfile.mkstemp(prefix=f"{log}.error-", suffix=".txt", dir=directory)
        except OSError:  # no space
            pass
    return tempfile.mkstemp(prefix=f"{program}-error-", suffix=".txt")
