"""The available executors: `EXECUTORS` and the entry points `dlbs.executors` of other packages."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dlbs.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from dlbs.executors.base import Executor

__all__ = ["ENTRY_POINTS", "EXECUTORS", "executor_name", "is_registered", "load_executor"]

ENTRY_POINTS = "dlbs.executors"

# Name → module:class, imported on first use.
EXECUTORS = {
    "local": "dlbs.executors.local:LocalExecutor",
    "slurm": "dlbs.executors.slurm:SlurmExecutor",
    "ssh": "dlbs.executors.ssh:SshExecutor",
}


def load_executor(name: str) -> type[Executor]:
    """The class of an executor: by its name, or `module:class`.

    Raises:
        ConfigError: The name is unknown, or the class cannot be imported.
    """
    place = name if ":" in name else EXECUTORS.get(name) or _entry_points().get(name)
    if not place:
        known = [*EXECUTORS, *_entry_points()]
        raise ConfigError(
            f"unknown executor {name!r}",
            where="--executor",
            hint=did_you_mean(name, known) or f"known: {', '.join(known)}; or module:Class",
        )
    module, _, attribute = place.partition(":")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{place} cannot be imported: {error}",
            where=f"--executor {name}",
            hint="install its package, or add its directory to PYTHONPATH",
        ) from None
    found = getattr(imported, attribute, None)
    if found is None:
        raise ConfigError(
            f"{place} cannot be imported: {module} has no {attribute}",
            where=f"--executor {name}",
            hint=did_you_mean(attribute, dir(imported)) or "see docs/executors.md",
        )
    if not isinstance(found, type) or not callable(getattr(found, "start", None)):
        raise ConfigError(f"{place} is not an executor", where=f"--executor {name}", hint="see docs/executors.md")
    missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
    if missing:
        raise ConfigError(
            f"{place} does not define {missing}", where=f"--executor {name}", hint="see docs/executors.md"
        )
    return found


def is_registered(name: str) -> bool:
    """Whether a name is built in or another package's entry point."""
    return name in EXECUTORS or name in _entry_points()


def executor_name(executor: Executor) -> str:
    """The name under which `load_executor` finds the class of an executor."""
    place = f"{type(executor).__module__}:{type(executor).__qualname__}"
    names = {known: name for name, known in EXECUTORS.items()}
    return names.get(place) or next((name for name, known in _entry_points().items() if known == place), place)


def _entry_points() -> dict[str, str]:
    from importlib.metadata import entry_points  # slow: reads the metadata of all installed packages

    return {one.name: one.value for one in entry_points(group=ENTRY_POINTS)}
