"""Output of `dlbs run` and `dlbs status` about doubtful runs, with reasons and remedies."""

from __future__ import annotations

import shutil
import sys

import click

from dlbs.doubts import Doubts
from dlbs.text import indented, printable

__all__ = ["show_doubts"]

_WIDE = 10_000  # columns of output that is not a terminal


def show_doubts(doubts: Doubts, *, err: bool = False) -> None:
    """Print the number of doubtful results, and one line per kind; nothing if there are none."""
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else _WIDE
    for number, line in enumerate(doubts.lines()):
        click.echo(indented(printable(line), width, "  " if number else "⚠ "), err=err)
