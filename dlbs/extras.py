"""Optional dependencies: imported where they are used, with a clear error if they are missing."""

from __future__ import annotations

from typing import Any

from dlbs.errors import LogError

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import a package that belongs to an extra.

    Raises:
        LogError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise LogError(
            f"the Python package {error.name!r} is required", hint=f"pip install 'dlbs[{extra}]' installs it"
        ) from None
