"""Types of columns of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlbs.errors import LogError
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


def test_columns_are_read_when_they_are_needed(tmp_path: Path) -> None:
    file = str(tmp_path / "r.parquet")
    write_records(file, [{"exp.model": "a", "exp.id": n, "results.time_data": [0.5] * 20} for n in range(5000)])
    runs = read_runs([file])
    runs.names, runs.distinct("exp.model"), runs[7]["exp.id"]
    assert [name for name, column in runs.table.columns.items() if callable(column)] == ["results.time_data"]
    with open(file, "ab") as other:
        other.write(b"x")
    with pytest.raises(LogError, match="changed while it was read"):
        runs.values("results.time_data")


def test_several_files_are_one_table_that_reads_what_is_needed(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{n}.parquet") for n in range(3)]
    records = [[{"exp.id": n, **({"my.x": n} if n == 1 else {}), "results.time": 0.5 * n}] * 2 for n in range(3)]
    for file, some in zip(files, records, strict=True):
        write_records(file, some)
    runs = read_runs(files)
    assert runs.values("exp.id") == [0, 0, 1, 1, 2, 2]
    assert "results.time" in [name for name, column in runs.table.columns.items() if callable(column)]
    assert runs.records() == [record for some in records for record in some]


@pytest.mark.parametrize(
    "values", [[float("nan"), 1.0], [0.0, -0.0], [None, 1.0], [True, False], ["", "a"], [2**62, 1]]
)
def test_statistics_of_a_column_hide_no_value(tmp_path: Path, values: list[Any]) -> None:
    file = str(tmp_path / "r.parquet")
    write_records(file, [{"exp.id": n, "my.x": value} for n, value in enumerate(values)])
    assert repr([record.get("my.x") for record in read_runs([file]).records()]) == repr(values)
