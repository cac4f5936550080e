"""The interface of a pack's benchfile.py: how the pack is installed, prepared and run."""

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
    """Base class of the class in a benchfile. It runs in the environment of dlbs, and starts processes in the environment of the pack.

    Override the methods that you need; the defaults are those of packs without a benchfile.

    Args:
        pack: The definition.

    Attributes:
        python: The interpreter of the pack's environment; that of dlbs if the pack needs none.
        working_directory: The directory in which its command runs.
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
        """The directory of the pack's code."""
        return self.pack.directory

    @property
    def data(self) -> Path:
        """The directory for its data."""
        return self.places.data()

    def install(self) -> None:
        """Install the requirements of the pack. An override replaces the default installation."""

    def prepare(self) -> None:
        """Download and create the data of the pack. An override replaces prepare.py."""

    def command(self, script: Sequence[str]) -> list[str]:
        """The command to run in the pack's directory, instead of `main.py ARGUMENTS`.

        Args:
            script: `main.py` and its arguments.
        """
        return [str(self.python), *script]

    def run_in_environment(self, *command: str) -> None:
        """Run a program of the pack's environment in the pack's directory.

        Raises:
            LaunchError: The program failed.
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
        """Whether the benchfile overrides a method."""
        return getattr(type(self), method) is not getattr(BenchmarkPack, method)
