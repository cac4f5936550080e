"""What a pack's benchfile.py may say for itself: how it is installed, prepared and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dlbs.errors import LaunchError
from dlbs.packs.definition import Pack
from dlbs.packs.extend import needs_environment
from dlbs.packs.places import Places

__all__ = ["BenchmarkPack"]


class BenchmarkPack:
    """Base class of the class in a benchfile. It runs in the environment of dlbs, and starts processes in the pack's.

    Override what you need; the rest is done as for packs without a benchfile.

    Args:
        pack: The definition.

    Attributes:
        python: The interpreter of its environment; that of dlbs if it needs none.
        working_directory: Where its command runs.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.places = Places.of()
        own = self.places.python(pack) if needs_environment(pack) else Path(sys.executable)
        given = os.environ.get("DLBS_PACK_PYTHON")  # the launcher sets it to pack.python
        self.python = Path(shutil.which(given) or given) if given else own
        self.working_directory: str | os.PathLike[str] = pack.directory

    @property
    def directory(self) -> Path:
        """Where the pack's code is."""
        return self.pack.directory

    @property
    def data(self) -> Path:
        """Where its data belong."""
        return self.places.data()

    def install(self) -> None:
        """Install what the pack needs. Overridden, nothing else is installed."""

    def prepare(self) -> None:
        """Download and make what the pack needs. Overridden, prepare.py is not run."""

    def command(self, script: Sequence[str]) -> list[str]:
        """What is run instead of `main.py ARGUMENTS`, in the pack's directory.

        Args:
            script: `main.py` and its arguments.
        """
        return [str(self.python), *script]

    def run_in_environment(self, *command: str) -> None:
        """Run a program of the pack's environment in the pack's directory.

        Raises:
            LaunchError: It failed.
        """
        environment = {**os.environ, **self.places.variables(self.pack)}
        environment["PATH"] = f"{self.python.parent}{os.pathsep}{environment.get('PATH', '')}"
        try:
            code = subprocess.run(command, cwd=self.directory, env=environment, check=False).returncode
        except OSError as error:
            raise LaunchError(f"{command[0]}: {error.strerror}", where=self.pack.name) from None
        if code != 0:
            raise LaunchError(f"{' '.join(command)} failed with exit code {code}", where=self.pack.name)

    def overrides(self, method: str) -> bool:
        """Whether the benchfile has its own way of doing something."""
        return getattr(type(self), method) is not getattr(BenchmarkPack, method)
