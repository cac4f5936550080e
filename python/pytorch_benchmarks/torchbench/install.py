"""Run a TorchBench model's install.py: `python install.py DIRECTORY`, in the environment of its pack. Needs only the standard library."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # run as a script, from any directory
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import runpy

from pytorch_benchmarks.torchbench.provided import provide_for_installing
from pytorch_benchmarks.unforeseen import guarded

__all__ = ["main"]


def main(words: list[str]) -> int:
    """Run the script in its directory, with the suite's installation modules importable."""
    directory = Path(words[0]).resolve()
    os.chdir(directory)
    provide_for_installing(directory)
    sys.argv = ["install.py", *words[1:]]
    try:
        runpy.run_path("install.py", run_name="__main__")
    except (ImportError, OSError, RuntimeError) as error:
        print(f"{directory.name}: install.py: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
