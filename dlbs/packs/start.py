"""Run a pack by the command of its benchfile: `python -m dlbs.packs.start DEFINITION NAME -- main.py ARGUMENTS`, from its launcher."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dlbs.errors import DlbsError
from dlbs.packs.benchfile_loading import benchfile_of
from dlbs.packs.definition import find_pack
from dlbs.text import printable
from dlbs.unforeseen import guarded

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Replace this process by the command of the benchfile; return an exit code if that fails."""
    definition, name, _, *script = arguments
    try:
        own = benchfile_of(find_pack(name, [Path(definition)]))
        assert own is not None
        command = own.command(script)
    except DlbsError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    try:
        os.chdir(own.working_directory)
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
