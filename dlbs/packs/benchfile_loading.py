"""The class that the benchfile.py of a pack defines: a subclass of `BenchmarkPack`, or a class written for milabench."""

from __future__ import annotations

import runpy

from dlbs.errors import DlbsError, LaunchError
from dlbs.packs.benchfile import BenchmarkPack
from dlbs.packs.definition import Pack
from dlbs.packs.milabench import MODULES
from dlbs.packs.milabench.adapter import AdaptedPack
from dlbs.packs.provided import provide

__all__ = ["benchfile_of"]


def benchfile_of(pack: Pack) -> BenchmarkPack | None:
    """The class that a pack's benchfile.py defines; None if there is no such file. This executes the file.

    Raises:
        LaunchError: The file fails, or defines no subclass of `BenchmarkPack`.
    """
    path = pack.directory / "benchfile.py"
    if not path.is_file():
        return None
    provide(MODULES)
    try:
        names = runpy.run_path(str(path), run_name="benchfile")
    except DlbsError as error:  # an import of what is not provided
        raise LaunchError(error.what, where=str(path), hint=error.hint) from None
    except Exception as error:
        raise LaunchError(f"{type(error).__name__}: {error}", where=str(path)) from None
    if "__pack__" in names:
        return AdaptedPack(pack, names["__pack__"], str(path))
    found = [value for value in names.values() if isinstance(value, type) and issubclass(value, BenchmarkPack)]
    found = [value for value in found if value is not BenchmarkPack]
    if not found:
        raise LaunchError(
            "defines no subclass of BenchmarkPack",
            where=str(path),
            hint="use `from dlbs.packs.benchfile import BenchmarkPack`, or set __pack__ to a subclass of milabench.pack.Package",
        )
    made: BenchmarkPack = found[-1](pack)
    return made
