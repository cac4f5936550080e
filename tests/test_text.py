"""Numbers for people."""

from __future__ import annotations

import pytest

from dlbs.text import duration, printable, short_number


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0012345, "0.001234"),
        (1.0, "1.000"),
        (12.345, "12.35"),
        (999.94, "999.9"),
        (1234.6, "1,235"),
        (1e6, "1,000,000"),
        (0, "0"),
    ],
)
def test_short_number(value: float, expected: str) -> None:
    assert short_number(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.25, "0.2 s"), (12.4, "12 s"), (59.9, "60 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_printable() -> None:
    assert printable("a\x1b[31mb\nc é") == "a?[31mb\nc é"
