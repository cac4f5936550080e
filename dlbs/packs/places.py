"""The directories for installations and downloads of packs, and the environment variables that pass them to scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlbs.packs.definition import Pack

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Directories under `$DLBS_BASE`, which is `~/.local/share/dlbs` by default.

    Attributes:
        base: The base directory.
    """

    base: Path

    @classmethod
    def of(cls, environ: Mapping[str, str] | None = None) -> Places:
        """The places that environment variables set."""
        environ = os.environ if environ is None else environ
        if environ.get("DLBS_BASE"):
            return cls(Path(environ["DLBS_BASE"]).expanduser().absolute())
        data = environ.get("XDG_DATA_HOME") or os.path.join(
            environ.get("HOME") or os.path.expanduser("~"), ".local", "share"
        )
        return cls(Path(data).absolute() / "dlbs")

    def environment(self, pack: Pack) -> Path:
        """The virtual environment of a pack's install group."""
        return self.base / "venv" / pack.install_group

    def python(self, pack: Pack) -> Path:
        """The interpreter of that environment."""
        return self.environment(pack) / "bin" / "python"

    def data(self, environ: Mapping[str, str] | None = None) -> Path:
        """Data sets: `$DLBS_DATA_DIR`, or `data` in the base directory."""
        environ = os.environ if environ is None else environ
        return (
            Path(environ["DLBS_DATA_DIR"]).expanduser().absolute()
            if environ.get("DLBS_DATA_DIR")
            else self.base / "data"
        )

    @property
    def cache(self) -> Path:
        """The directory for weights and other downloads of frameworks."""
        return self.base / "cache"

    def note(self, pack: Pack, what: str) -> Path:
        """The file that records the state for which step `what` was done: per group for `install`, per pack otherwise."""
        return self.base / "state" / f"{pack.install_group if what == 'install' else pack.name}.{what}.json"

    def variables(self, pack: Pack) -> dict[str, str]:
        """The environment variables of a pack's scripts, including the names that milabench uses."""
        return {
            "DLBS_BASE": str(self.base),
            "DLBS_DATA_DIR": str(self.data()),
            "DLBS_PACK": pack.name,
            "DLBS_PACK_DIR": str(pack.directory),
            "MILABENCH_BASE": str(self.base),
            "MILABENCH_DATA_DIR": str(self.data()),
            "MILABENCH_DIR_DATA": str(self.data()),
            "MILABENCH_DIR_CACHE": str(self.cache),
            "XDG_CACHE_HOME": str(self.cache),
        }
