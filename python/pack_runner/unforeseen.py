"""Top-level error handling of programs: an unforeseen error prints one line with the path of a file with details, never a traceback.

Each package under python/ that containers mount separately has a copy of this file; a test compares the copies.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable

__all__ = ["CANNOT_WRITE", "UNFORESEEN", "cannot_write", "guarded", "keep"]

CANNOT_WRITE, UNFORESEEN, _INTERRUPTED = 2, 70, 130  # exit codes; 70 is EX_SOFTWARE of sysexits.h
_PACKAGE = __name__.partition(".")[0]
_IN_CONTAINER = "DLBS_IN_CONTAINER"  # environment variable set by launchers


def guarded(main: Callable[[], int]) -> int:
    """Run a program and return its exit code; errors become one line, or with `--debug` a traceback."""
    if sys.stdout is None:  # closed
        sys.stdout = open(os.devnull, "w")
    try:
        code = main()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        problem, code = "interrupted", _INTERRUPTED
    except Exception as error:
        problem, code = cannot_write(), CANNOT_WRITE
        if not problem:
            if "--debug" in sys.argv:
                raise
            problem, code = keep(error), UNFORESEEN
            print(f"__exp.status_msg__= {json.dumps(problem)}", flush=True)
    print(f"error: {problem}", file=sys.stderr, flush=True)
    return code


def keep(error: BaseException) -> str:
    """Save the details of an unforeseen error; return the message with their location.

    They go to a new file, readable only by the user: next to the log if a launcher started the program, otherwise in the directory of
    temporary files. Files of a container are deleted with it, so there the details are the value `exp.error_details` of the log.
    """
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    words = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in what)
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        details = _write(f"Python {sys.version}\n{sys.argv}\n\n{text}")
    except OSError as problem:
        details = f"cannot be written: {problem.strerror}; --debug shows them"
    return f"unexpected error, a bug in {_PACKAGE}: {words} (details: {details})"


def _write(text: str) -> str:
    directory, log = os.path.split(os.environ.get("DLBS_LOG", ""))
    if log and os.access(directory or ".", os.W_OK):
        descriptor, name = tempfile.mkstemp(prefix=f"{log}.error-", suffix=".txt", dir=directory or ".")
    elif os.environ.get(_IN_CONTAINER):
        print(f"__exp.error_details__= {json.dumps(text)}", flush=True)
        return "exp.error_details in the log"
    else:
        descriptor, name = tempfile.mkstemp(prefix=f"{_PACKAGE}-error-", suffix=".txt")  # with O_EXCL, as 0600
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
    return name


def cannot_write() -> str:
    """Reason why standard output cannot be written; empty if it can. Otherwise pending output is discarded."""
    try:
        print(flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output cannot be written: {error.strerror}"
    return ""
