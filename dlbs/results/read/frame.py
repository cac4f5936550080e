"""Results as pandas DataFrames for notebooks, with the same queries as on the command line."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dlbs.core.errors import LogError, require, with_arguments
from dlbs.results.columns import plain
from dlbs.results.read.query import Query as CompiledQuery
from dlbs.results.read.query import check_keys, compile_query
from dlbs.results.read.records import read_runs
from dlbs.results.runs import Record, Runs

if TYPE_CHECKING:
    import pandas as pd


Query = str | Mapping[str, Any] | Callable[[Record], bool]

_TIMES = ("exp.start_time", "exp.end_time")


@with_arguments
def load_results(paths: str | Iterable[str], query: Query | None = None) -> pd.DataFrame:
    """Read logs and results files into a DataFrame.

    Args:
        paths: As for `dlbs parse` and `dlbs report`: log files, directories, patterns, archives, results files.
        query: Keep only experiments that match, as `filter_results` does.

    Returns:
        One row per experiment. Columns are typed: `Int64`, `float64`, `boolean`, `string`, `datetime64` in UTC; `object` if values are lists,
        mappings or of several types. Values that a log lacks are missing (`pd.NA`, NaN). The column `exp.status` always exists.

    Raises:
        LogError: A path matches nothing, a results file is malformed, the query has a key that no experiment has, or pandas is not installed.
    """
    pandas = require("pandas", "reports")
    runs = read_runs([paths] if isinstance(paths, str) else paths)
    statuses = runs.statuses
    if statuses != runs.values("exp.status"):
        runs = runs.derived("exp.status", statuses)
    if query is not None:
        fits = _test(query, runs.names)
        runs = fits.of(runs) if isinstance(fits, CompiledQuery) else runs.where(fits(dict(run)) for run in runs)
    frame: pd.DataFrame = pandas.DataFrame({name: _column_of(runs, name) for name in runs.names})
    return frame


@with_arguments
def filter_results(frame: pd.DataFrame, query: Query) -> pd.DataFrame:
    """Select the experiments that match a query, as a new frame.

    Args:
        frame: Results, one row per experiment.
        query: A mapping or JSON object of conditions, `{"exp.model": "resnet.*", "exp.replica_batch": [16, 32]}`; an expression,
            `${results.time} < 10`; or a function of a row as a dictionary without missing values.

    Raises:
        LogError: The query is malformed, or has a key that no experiment has.
    """
    fits = _test(query, frame.columns)
    return frame[[fits(row) for row in records_of(frame)]].copy()


@with_arguments
def set_values(frame: pd.DataFrame, query: Query, values: Mapping[str, Any]) -> pd.DataFrame:
    """Set columns of the experiments that match a query, in a new frame.

    Args:
        frame: Results, one row per experiment.
        query: As for `filter_results`.
        values: Column → value, or a function of a row as a dictionary that returns the value. New columns have missing values in other rows.

    Raises:
        LogError: The query is malformed, or has a key that no experiment has.
    """
    pandas = require("pandas", "reports")
    fits = _test(query, frame.columns)
    rows = list(records_of(frame))
    chosen = [fits(row) for row in rows]
    made = frame.copy()
    for name, value in values.items():
        column = [
            (value(row) if callable(value) else value) if hit else row.get(name)
            for hit, row in zip(chosen, rows, strict=True)
        ]
        made[name] = pandas.Series(_column(name, column), index=frame.index)
    return made


def _test(query: Query, known: Iterable[str]) -> CompiledQuery | Callable[[Record], bool]:
    if callable(query):
        return query
    if isinstance(query, Mapping):
        try:
            query = json.dumps(dict(query))
        except TypeError as error:
            raise LogError(f"the query cannot be converted to JSON: {error}") from None
    compiled = compile_query(query)
    check_keys(compiled.names, set(known), "query")
    return compiled


def records_of(frame: pd.DataFrame) -> Iterable[Record]:
    """Convert the rows of a frame of results to records: plain values, without missing ones."""
    pandas = require("pandas", "reports")
    columns = [(str(name), frame[name].tolist()) for name in frame.columns]
    for index in range(len(frame)):
        row = {}
        for name, values in columns:
            value = values[index]
            if isinstance(value, (list, dict)):
                row[name] = value
            elif isinstance(value, pandas.Timestamp):
                row[name] = value.isoformat()
            elif not pandas.isna(value):
                row[name] = value
        yield row


def _column_of(runs: Runs, name: str) -> Any:
    """The values of a key for a frame: those that differ are converted, and then taken for each run."""
    import numpy as np

    column = runs.table.column(name)
    assert column is not None
    found = runs.codes(column)
    codes = np.array(found) if isinstance(found, (array, range)) else np.fromiter(found, np.int64, len(runs))
    used = np.zeros(len(column.values) + 1, bool)
    used[codes] = True  # the last one stands for runs without a value
    places = np.cumsum(used) - 1
    places[-1] = -1
    made = _column(name, [plain(value) for value, is_used in zip(column.values, used, strict=False) if is_used])
    if made.dtype.name != "object":
        return made.take(places[codes], allow_fill=True)
    # Each row has lists of its own, and what is missing among values of several types is None.
    return _column(name, [one.copy() if isinstance(one, (list, dict)) else one for one in runs.values(name)])


def _column(name: str, values: list[Any]) -> Any:
    pandas = require("pandas", "reports")
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pandas.array(values, dtype="boolean")
    if kinds == {int}:
        if all(value is None or -(2**63) <= value < 2**63 for value in values):
            return pandas.array(values, dtype="Int64")
        return pandas.array(values, dtype="object")
    if kinds and kinds <= {int, float}:
        return pandas.array([float("nan") if value is None else float(value) for value in values], dtype="float64")
    if name in _TIMES and kinds and kinds <= {str, pandas.Timestamp}:
        times = pandas.to_datetime(pandas.Series(values), errors="coerce", format="ISO8601", utc=True)
        if times.notna().sum() == sum(value not in (None, "") for value in values):
            return times.array
    if kinds == {str}:
        return pandas.array(values, dtype="string")
    return pandas.Series(values, dtype="object").array
