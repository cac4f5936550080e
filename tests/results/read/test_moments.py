"""Timestamps in records, and their order."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from dlbs.results import runs as runs_module
from dlbs.results.runs import moment, order_of, start_order


class _Of310(datetime):
    """Python 3.10 parses `-05:00`, but not `-0500`."""

    @classmethod
    def fromisoformat(cls, words: str, /) -> Any:
        if words[-5] in "+-":
            raise ValueError
        return datetime.fromisoformat(words)


@pytest.mark.parametrize("version", [datetime, _Of310])
@pytest.mark.parametrize(("zone", "hours"), [("-0500", -5), ("+0530", 5.5), ("-05:00", -5), ("", None)])
def test_offsets_of_time_zones(monkeypatch: pytest.MonkeyPatch, version: Any, zone: str, hours: float | None) -> None:
    monkeypatch.setattr(runs_module, "datetime", version)
    found = moment(f"2026-11-21T10:00:00{zone}")
    assert found is not None
    assert (found.hour, found.utcoffset()) == (10, None if hours is None else timedelta(hours=hours))


@pytest.mark.parametrize("value", ["yesterday", "", None, 7, "2026-11-31T10:00:00+0100"])
def test_other_values_are_no_timestamps(value: Any) -> None:
    assert moment(value) is None


def test_the_order_of_moments_is_not_that_of_local_times() -> None:
    tokyo, london, unknown = "2026-11-21T10:00:00+0900", "2026-11-21T05:00:00+0000", None
    assert sorted([london, tokyo, unknown], key=order_of) == [unknown, tokyo, london]
    added = {"db.added": "2026-11-21T03:00:00"}  # in UTC
    runs = [{"exp.start_time": london}, added, {"exp.start_time": tokyo}, {}]
    assert sorted(runs, key=start_order) == [{}, {"exp.start_time": tokyo}, added, {"exp.start_time": london}]
