"""The command line: one file per verb, only options and printing."""

from __future__ import annotations

import sys


def start(verb: str = "", name: str = "dlbs") -> None:
    """Run `dlbs`, or one of its verbs as a separate program, and exit.

    Args:
        verb: The verb; empty for all of them.
        name: Name of the program in its help text.
    """
    try:
        from dlbs.cli.main import main
    except ModuleNotFoundError as missing:
        hint = "run `make venv` and use .venv/bin/python, or pip install ."
        sys.exit(f"error: dlbs needs the Python package {missing.name!r} ({hint})")
    main(verb, name)
