"""Types of columns of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlbs.results.read.records import read_runs, write_records


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([12, 12.5, None], "double"),
        ([12, 2**60], "int64"),
        ([12, True], "string"),
        ([2**53 + 1, 12.5], "string"),
        ([2**70, 12.5], "string"),
        ([[1.5, 2.5], []], "list<element: double>"),
        ([[1, 2], [3]], "list<element: int64>"),
        ([[1, 2.5], [3]], "list<element: double>"),
        ([[1, "a"]], "string"),
        ([[2**53 + 1, 2.5]], "string"),
    ],
)
def test_integers_among_numbers_become_such_numbers_unless_they_would_be_rounded(
    tmp_path: Path, values: list[Any], kind: str
) -> None:
    from pyarrow.parquet import read_schema

    file = str(tmp_path / "r.parquet")
    write_records(file, [{"exp.id": n, "results.x": value} for n, value in enumerate(values)])
    assert str(read_schema(file).field("results.x").type) == kind
    assert [record.get("results.x") for record in read_runs([file])] == values
