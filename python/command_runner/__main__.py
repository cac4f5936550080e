"""Start the package as a program: `python DIRECTORY`, from any location."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from command_runner.run import main  # noqa: E402 - importable from here on
from command_runner.unforeseen import guarded  # noqa: E402

if __name__ == "__main__":
    sys.exit(guarded(main))
