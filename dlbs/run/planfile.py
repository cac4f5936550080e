"""The plan file that a run writes next to its logs: the names of the logs, in the plan's order, and the parameters that differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlbs.errors import LogError
from dlbs.files import read_regular, write_atomically
from dlbs.jsonio import JsonError, load_json

__all__ = ["PLAN_NAME", "PlanFile", "parse_plan_file", "read_plan_file", "write_plan_file"]

PLAN_NAME = ".dlbs.plan"
_LARGEST = 256 << 20  # bytes: a million logs with long names


@dataclass(frozen=True, slots=True)
class PlanFile:
    """The content of the plan file of the last run in a directory.

    Attributes:
        differing: The parameters that differ, in the configuration's order.
        logs: Names of log files, in the plan's order.
    """

    differing: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


def write_plan_file(directory: Path, differing: Sequence[str], logs: Iterable[str]) -> None:
    """Write the plan file of a log directory: JSON lines, the names of the parameters on the first line.

    Raises:
        ConfigError: It cannot be written.
    """
    with write_atomically(directory / PLAN_NAME, follow=False) as stream:
        stream.write(json.dumps(list(differing)) + "\n")
        stream.writelines(json.dumps(name) + "\n" for name in logs)


def read_plan_file(directory: Path) -> PlanFile:
    """The plan file of a log directory; an empty one if missing.

    Raises:
        LogError: It is not a regular file, is too large, or is not UTF-8.
    """
    path = directory / PLAN_NAME
    try:
        return parse_plan_file(read_regular(path, _LARGEST))
    except FileNotFoundError:
        return PlanFile()
    except UnicodeDecodeError:
        raise LogError("is not UTF-8, so it is not a plan file", where=str(path), hint="remove it") from None


def parse_plan_file(content: bytes) -> PlanFile:
    """Parse a plan file. Invalid lines are ignored, names with a directory included: they would lead elsewhere.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    differing: tuple[str, ...] = ()
    logs = []
    for number, line in enumerate(content.decode().splitlines()):
        try:
            value = load_json(line)
        except JsonError:
            continue
        if number == 0 and isinstance(value, list):
            differing = tuple(name for name in value if isinstance(name, str))
        elif isinstance(value, str) and value == Path(value).name and not value.startswith(".dlbs."):
            logs.append(_file_name(line) if "\N{REPLACEMENT CHARACTER}" in value else value)
    return PlanFile(differing, tuple(dict.fromkeys(logs)))


def _file_name(line: str) -> str:
    """The file name in a line; bytes that are not UTF-8 are surrogates in it, as `os.listdir` returns them."""
    name = json.loads(line)
    assert isinstance(name, str)
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "replace").decode()
    return name
