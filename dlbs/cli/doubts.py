"""How `dlbs run` and `dlbs status` print doubtful runs, the reasons, and remedies."""

from __future__ import annotations

import shutil
import sys

import click

from dlbs.doubts import Doubts
from dlbs.text import indented, printable

__all__ = ["show_doubts"]

_WIDE = 10_000  # columns of what is no terminal


def show_doubts(doubts: Doubts, *, err: bool = False) -> None:
    """Print a line with their number, and one for each kind; nothing if no result is doubtful."""
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else _WIDE
    for number, line in enumerate(doubts.lines()):
        click.echo(indented(printable(line), width, "  " if number else "⚠ "), err=err)
