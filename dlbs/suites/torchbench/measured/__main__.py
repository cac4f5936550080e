"""Programs for a model's directory, in the environment of its pack: `python MEASURED install|run|check DIRECTORY`.

`install` runs install.py, `run` the `__main__` block of the model; `check` prints a JSON line for each check of the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run by its path: this directory is the package
    here = Path(__file__).resolve().parent
    sys.path[0], __package__ = str(here.parent), here.name

from benchmark_core.crash import guarded
from benchmark_core.exits import BenchmarkError


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked, and return an exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["install", "run", "check"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--debug", action="store_true", help="print the traceback of an unforeseen error")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="arguments of the model's block or of the checks")
    options = parser.parse_args(arguments)
    if options.what == "install":
        from .install import run_install

        return run_install(options.directory)
    if options.what == "check":
        from .checks import main as check

        return check([str(options.directory), *options.words])
    from .workload import run_block

    try:
        run_block(options.directory, options.words)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
