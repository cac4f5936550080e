"""Unexpected errors: one line that names a file with the details, instead of a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from dlbs.exit_codes import INTERRUPTED, UNFORESEEN
from dlbs.text import printable
from dlbs.version import __version__

__all__ = ["guarded", "tell_unforeseen"]


def guarded(main: Callable[[], int]) -> int:
    """Run a program that a launcher starts, and return its exit code; an unexpected error is also logged as `exp.status_msg`."""
    try:
        return main()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        from dlbs.logs import parameter_line

        said = _kept(error)
        print(parameter_line("exp.status_msg", said), flush=True)
        print(f"error: {said}", file=sys.stderr)
        return UNFORESEEN


def tell_unforeseen(error: Exception) -> None:
    """Report an error as a bug of dlbs in one line, and write the details to a new file that only the user can read.

    The file is in the directory of the log if a launcher started this program, otherwise in the directory for temporary files.
    """
    print(f"error: {_kept(error)}", file=sys.stderr)


def _kept(error: Exception) -> str:
    """Write the details, and return the message."""
    traceback.clear_frames(error.__traceback__)  # after a MemoryError this frees the memory of their variables
    try:
        details = f"details: {_details(error)}"
    except (OSError, MemoryError) as problem:
        details = f"details cannot be written: {problem}; --debug shows them"
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"unexpected error, a bug in dlbs: {printable(what)} ({printable(details)})"


def _details(error: Exception) -> str:
    import platform
    import shlex

    descriptor, name = _create()
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"dlbs {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
        stream.write(f"{shlex.join(sys.argv)}\n\n")
        stream.writelines(traceback.format_exception(error))
    return name


def _create() -> tuple[int, str]:
    """Create a file; mkstemp uses O_EXCL and mode 0600."""
    import tempfile

    from dlbs.logs import LOG_VARIABLE

    directory, log = os.path.split(os.environ.get(LOG_VARIABLE, ""))
    if log:
        try:
            return tempfile.mkstemp(prefix=f"{log}.error-", suffix=".txt", dir=directory or ".")
        except OSError:  # the log directory is full or missing: use the temporary directory
            pass
    return tempfile.mkstemp(prefix="dlbs-error-", suffix=".txt")
