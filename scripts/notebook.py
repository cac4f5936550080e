"""Run a notebook from top to bottom and keep its outputs: `python -m scripts.notebook NOTEBOOK`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["executed"]


def executed(path: Path, directory: Path) -> Any:
    """A notebook with the outputs that it has when it runs in a directory.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(directory)}}).execute()
    return notebook


def main() -> None:
    """Run the notebook that was named, in a directory that is removed afterwards."""
    import tempfile

    import nbformat

    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        nbformat.write(executed(path, Path(directory)), path)


if __name__ == "__main__":
    main()
