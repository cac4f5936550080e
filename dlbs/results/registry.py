"""Registries: the names that a verb offers as choices, each with its function and a line of help.

A registry names its functions instead of importing them (`module:function`), so that `dlbs plot --help` knows every kind of plot without
loading matplotlib. It is the only list of its names: verbs, documentation tests and Python callers read it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from dlbs.errors import LogError, did_you_mean

__all__ = ["Registry", "registered"]

Registry = Mapping[str, tuple[str, str]]


def registered(registry: Registry, name: str, what: str) -> Any:
    """The function that is registered under a name.

    Args:
        registry: Name → (`module:function`, one line of help).
        name: One of its names.
        what: What the registry holds, for the message.

    Raises:
        LogError: There is no such name.
    """
    if name not in registry:
        hint = did_you_mean(name, registry) or f"there are {', '.join(registry)}"
        raise LogError(f"no {what} {name!r}", hint=hint)
    module, function = registry[name][0].split(":")
    return getattr(importlib.import_module(module), function)
