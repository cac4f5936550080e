"""Formats of `dlbs export --to`. Each function takes records, declarations and the destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.read.onelog import Record
from dlbs.results.registry import Registry, registered

__all__ = ["KINDS", "SUFFIXES", "export", "kind_of_file"]

_HERE = "dlbs.results.export"

KINDS: Registry = {
    "json": (f"{_HERE}.tables:write_table", "JSON, as dlbs parse writes it"),
    "jsonl": (f"{_HERE}.tables:write_table", "JSON Lines, one experiment per line"),
    "csv": (f"{_HERE}.tables:write_table", "CSV, one experiment per line"),
    "parquet": (f"{_HERE}.tables:write_table", "Apache Parquet, a column for each key"),
    "junit": (f"{_HERE}.junit:write_junit", "JUnit XML: each experiment is a test"),
    "prometheus": (f"{_HERE}.prometheus:write_prometheus", "a text file for Prometheus' node exporter"),
    "mlflow": (f"{_HERE}.mlflow:log_runs", "runs in an MLflow store: a directory, or the URI of a server"),
    "tensorboard": (f"{_HERE}.tensorboard:write_events", "a directory of event files for TensorBoard"),
}

# File name suffix → format; text formats may be followed by `.gz`.
SUFFIXES: dict[str, str] = {
    ".json": "json", ".json.gz": "json", ".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".csv": "csv", ".csv.gz": "csv",
    ".parquet": "parquet", ".xml": "junit", ".prom": "prometheus",
}  # fmt: skip


def kind_of_file(path: str) -> str:
    """Export format by the suffix of a file name.

    Raises:
        LogError: The suffix is unknown.
    """
    for suffix, kind in SUFFIXES.items():
        if path.endswith(suffix):
            return kind
    raise LogError("the file name has no known suffix", where=path, hint=f"add --to with one of {', '.join(KINDS)}")


def export(
    kind: str, records: Sequence[Record], declarations: Mapping[str, Parameter], destination: str
) -> tuple[int, str]:
    """Export experiments; returns how many were written, and where.

    Args:
        kind: A key of `KINDS`.
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        destination: A file, a directory or a URI.

    Raises:
        LogError: The format is unknown, does not support the destination, or a package is missing.
        ConfigError: The destination cannot be written.
    """
    count, where = registered(KINDS, kind, "export")(records, declarations, destination)
    return int(count), str(where)
