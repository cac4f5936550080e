"""Files: where those that come with DLBS lie, and writing that leaves a whole file or none."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dlbs.errors import ConfigError

__all__ = ["dlbs_root", "write_atomically"]


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when it is complete; `.gz` is compressed.

    On an error nothing is left behind and an older file of that name stays as it was.

    Raises:
        ConfigError: The file cannot be written.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        stream: IO[str]
        if target.suffix == ".gz":
            stream = gzip.open(beside, "wt", encoding="utf-8")
        else:
            stream = open(beside, "w", encoding="utf-8")
        with stream:
            yield stream
        os.replace(beside, target)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", where=str(path)) from None
    finally:
        beside.unlink(missing_ok=True)


def dlbs_root(environ: Mapping[str, str] | None = None) -> Path:
    """The directory that holds `config/`, `scripts/` and `python/`: `$DLBS_ROOT`, the checkout, or the installed copy."""
    environ = os.environ if environ is None else environ
    if environ.get("DLBS_ROOT"):
        return Path(environ["DLBS_ROOT"])
    package = Path(__file__).resolve().parent
    return package.parent if (package.parent / "config" / "base.yaml").is_file() else package / "shipped"
