"""Export experiments to a table in a file: JSON, JSON Lines, CSV, Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import write_records

__all__ = ["write_table"]


def write_table(records: Sequence[Record], declarations: Mapping[str, Parameter], destination: str) -> tuple[int, str]:
    """Write a results file, which `dlbs report` reads too; its suffix determines the format.

    Raises:
        LogError: The suffix is unknown, or a package is missing.
        ConfigError: The file cannot be written.
    """
    write_records(destination, records)
    return len(records), destination
