"""Types of columns of Parquet files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from dlbs.core.errors import LogError
from dlbs.results.read.parquet import read_parquet
from dlbs.results.read.records import read_runs, write_records
from tests.conftest import RunDlbs
from tests.made_logs import make_logs, make_record


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


def a_year(directory: Path) -> list[str]:
    """A directory with a file for each of three models."""
    files = [str(directory / f"{model}.parquet") for model in "abc"]
    for file, model in zip(files, "abc", strict=True):
        write_records(file, [make_record(model, batch=batch, my__word=f"w{batch}") for batch in (1, 2)])
    return files


def test_a_directory_of_parquet_files_is_a_source_of_results(dlbs: RunDlbs, tmp_path: Path) -> None:
    files = a_year(tmp_path)
    reports = [
        dlbs("report", *paths).stdout for paths in (files, [str(tmp_path)], [str(tmp_path / "*.parquet")], files[:1])
    ]
    assert reports[0] == reports[1] == reports[2] != reports[3]
    assert dlbs("db", "add", str(tmp_path), "--db", str(tmp_path / "r.db")).stderr == "6 new, 0 already known\n"
    assert "no such file" in dlbs("report", str(tmp_path / "*.parq?et.parquet")).stderr


def test_in_a_directory_with_logs_the_logs_count(tmp_path: Path) -> None:
    a_year(tmp_path)
    make_logs(tmp_path / "logs", [make_record("d")])
    assert read_runs([str(tmp_path)]).values("exp.model") == ["d"]


def test_of_a_file_without_matching_runs_nothing_but_its_statistics_is_read(dlbs: RunDlbs, tmp_path: Path) -> None:
    """The pages of such a file may be damaged, but not those of the others."""
    files = a_year(tmp_path)
    metadata = parquet.read_metadata(files[1])
    start = min(metadata.row_group(0).column(at).data_page_offset for at in range(metadata.num_columns))
    with open(files[1], "r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * (os.path.getsize(files[1]) - metadata.serialized_size - 8 - start))
    whole = dlbs("report", files[0]).stdout
    query = '{"exp.model": "a"}'
    assert dlbs("report", str(tmp_path), "--filter_query", query).stdout == whole
    refused = dlbs("report", str(tmp_path), "--filter_query", '{"exp.model": "[ab]"}')
    assert f"{files[1]}: cannot be read" in refused.stderr
    assert refused.returncode == 2


def test_row_groups_are_tables_of_their_own(tmp_path: Path) -> None:
    file = str(tmp_path / "r.parquet")
    records = [{"exp.id": n, **({"my.x": n} if n % 3 else {}), "my.half": n // 8192} for n in range(20_000)]
    write_records(file, records)
    groups = read_parquet(file, in_groups=True)
    assert list(map(len, groups)) == [8192, 8192, 3616]
    assert [record for group in groups for record in group.records()] == records
    (whole,) = read_parquet(file)
    assert whole.records() == records


def test_a_file_without_rows_has_no_runs(tmp_path: Path) -> None:
    file = str(tmp_path / "r.parquet")
    schema = pyarrow.schema([("exp.id", pyarrow.string()), ("my.x", pyarrow.float64())])
    with parquet.ParquetWriter(file, schema):
        pass
    for in_groups in (False, True):
        (runs,) = read_parquet(file, in_groups=in_groups)
        assert runs.records() == runs.values("exp.id") == runs.values("my.x") == []
