"""Run a notebook from top to bottom and keep its outputs: `python -m scripts.notebook NOTEBOOK`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["executed"]


def executed(path: Path, directory: Path) -> Any:
    """Run a notebook in a directory, and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(directory)}}).execute()
    return notebook


def main() -> None:
    """Run the given notebook in a temporary directory."""
    import tempfile

    import nbformat

    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        nbformat.write(executed(path, Path(directory)), path)


if __name__ == "__main__":
    main()
