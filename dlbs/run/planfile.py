"""The file that a run leaves beside its logs: which logs its plan makes, in the plan's order, and which parameters differ between them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlbs.errors import LogError
from dlbs.files import open_regular, write_atomically
from dlbs.jsonio import JsonError, load_json

__all__ = ["PLAN_NAME", "PlanFile", "parse_plan_file", "read_plan_file", "write_plan_file"]

PLAN_NAME = ".dlbs.plan"


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What the plan that ran last in a directory makes.

    Attributes:
        differing: The parameters that differ, in the configuration's order.
        logs: Names of log files, in the plan's order.
    """

    differing: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


def write_plan_file(directory: Path, differing: Sequence[str], logs: Iterable[str]) -> None:
    """Write the plan file of a log directory: JSON lines, the names of the parameters first.

    Raises:
        ConfigError: It cannot be written.
    """
    with write_atomically(directory / PLAN_NAME) as stream:
        stream.write(json.dumps(list(differing)) + "\n")
        stream.writelines(json.dumps(name) + "\n" for name in logs)


def read_plan_file(directory: Path) -> PlanFile:
    """The plan file of a log directory; an empty one if there is none, or it is not a regular file."""
    try:
        with open_regular(directory / PLAN_NAME) as stream:
            return parse_plan_file(stream.read())
    except (OSError, LogError):
        return PlanFile()


def parse_plan_file(content: bytes) -> PlanFile:
    """What a plan file says. Lines that are not ours are left out: a name with a directory in it would lead elsewhere."""
    differing: tuple[str, ...] = ()
    logs = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines()):
        try:
            value = load_json(line)
        except JsonError:
            continue
        if number == 0 and isinstance(value, list):
            differing = tuple(name for name in value if isinstance(name, str))
        elif isinstance(value, str) and value == Path(value).name and not value.startswith(".dlbs."):
            logs.append(value)
    return PlanFile(differing, tuple(dict.fromkeys(logs)))
