"""Select the experiments of a plot: successful ones with a value, in the order of tables."""

from __future__ import annotations

from collections.abc import Sequence

from dlbs.errors import LogError, did_you_mean
from dlbs.results.grouping import groups, ordered_keys
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.samples import none_ended_well

__all__ = ["FEWER", "MOST_LINES", "check_count", "check_some_ended_well", "in_order", "with_value"]

MOST_LINES = 24
FEWER = "select fewer experiments with --filter_query"


def check_some_ended_well(records: Sequence[Record]) -> None:
    """Raise a LogError if no experiment succeeded."""
    if failed := none_ended_well(records):
        raise LogError(failed, hint="dlbs report shows the reasons")


def check_count(count: int | str, what: str, *, too_many: bool) -> None:
    """Raise a LogError if there are too many items for one plot."""
    if too_many:
        raise LogError(f"{count} {what} are too many for one plot", hint=FEWER)


def with_value(records: Sequence[Record], key: str) -> list[Record]:
    """Select successful experiments with a number.

    Raises:
        LogError: There are none.
    """
    check_some_ended_well(records)
    good = [record for record in records if status_of(record) == "ok" and number(record, key) is not None]
    if not good:
        hint = did_you_mean(key, set().union(*records)) or "dlbs parse LOG shows the keys of a log"
        raise LogError(f"no successful experiment has {key}", hint=hint)
    return good


def in_order(records: Sequence[Record], names: Sequence[str]) -> list[list[Record]]:
    """Group records in the order of tables."""
    found = groups(records, names)
    return [found[key] for key in ordered_keys(found, names)]
