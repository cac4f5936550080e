"""Registries: the choices of a command, each with its function and a line of help.

A registry names its functions (`module:function`) instead of importing them, so that `dlbs plot --help` lists all kinds of plots without
loading matplotlib. It is the only list of its names: commands, documentation tests and Python callers read it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from dlbs.errors import LogError, did_you_mean

__all__ = ["Registry", "registered"]

Registry = Mapping[str, tuple[str, str]]


def registered(registry: Registry, name: str, what: str) -> Any:
    """Import the function registered under a name.

    Args:
        registry: Name → (`module:function`, one line of help).
        name: One of its names.
        what: Noun for its entries in the message.

    Raises:
        LogError: The name is not registered.
    """
    if name not in registry:
        hint = did_you_mean(name, registry) or f"choose from {', '.join(registry)}"
        raise LogError(f"unknown {what} {name!r}", hint=hint)
    module, function = registry[name][0].split(":")
    return getattr(importlib.import_module(module), function)
