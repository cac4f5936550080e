"""Run the `__main__` block of a TorchBench model: `python -m pytorch_benchmarks.torchbench DIRECTORY`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.torchbench.loader import load_class
from pytorch_benchmarks.torchbench.provided import ROOT
from pytorch_benchmarks.unforeseen import guarded

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Import a model's directory and run its file as a program, with working relative imports."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--debug", action="store_true", help="print the traceback of an unforeseen error")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="arguments in sys.argv of the block")
    options = parser.parse_args(arguments)
    try:
        load_class(options.directory)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    file = str(options.directory.resolve() / "__init__.py")
    sys.argv = [file, *options.words]
    code = compile(Path(file).read_bytes(), file, "exec")
    exec(
        code,
        {
            "__name__": "__main__",
            "__package__": f"{ROOT}.models.{Path(file).parent.name}",
            "__file__": file,
            "__builtins__": __builtins__,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
