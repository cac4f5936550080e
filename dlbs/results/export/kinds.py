"""Formats of `dlbs export --to`, tables of records among them, and the labels of exported experiments."""

from __future__ import annotations

from dlbs.core.errors import LogError, Registry, registered
from dlbs.core.experiment import describe
from dlbs.core.text import text
from dlbs.results.grouping import label_names
from dlbs.results.read.records import write_records
from dlbs.results.runs import Runs


def labels_of(runs: Runs) -> list[str]:
    """Label each experiment; those with the same parameters are numbered in their order."""
    names = label_names(runs)
    seen: dict[str, int] = {}
    labels = []
    for record in runs:
        label = describe(record, names, whole=True) or text(record.get("exp.log_file")) or "experiment"
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels


def write_table(runs: Runs, destination: str) -> tuple[int, str]:
    """Write a results file, which `dlbs report` reads too; its suffix determines the format.

    Raises:
        LogError: The suffix is unknown, or a package is missing.
        ConfigError: The file cannot be written.
    """
    write_records(destination, runs)
    return len(runs), destination


KINDS: Registry = {
    "json": ("dlbs.results.export.kinds:write_table", "JSON, as dlbs parse writes it"),
    "jsonl": ("dlbs.results.export.kinds:write_table", "JSON Lines, one experiment per line"),
    "csv": ("dlbs.results.export.kinds:write_table", "CSV, one experiment per line"),
    "parquet": ("dlbs.results.export.kinds:write_table", "Apache Parquet, a column for each key"),
    "junit": ("dlbs.results.export.monitors:write_junit", "JUnit XML: each experiment is a test"),
    "prometheus": ("dlbs.results.export.monitors:write_prometheus", "a text file for Prometheus' node exporter"),
    "mlflow": ("dlbs.results.export.trackers:log_runs", "runs in an MLflow store: a directory, or the URI of a server"),
    "tensorboard": ("dlbs.results.export.trackers:write_events", "a directory of event files for TensorBoard"),
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


def export(kind: str, runs: Runs, destination: str) -> tuple[int, str]:
    """Export experiments; returns how many were written, and where.

    Args:
        kind: A key of `KINDS`.
        runs: The experiments.
        destination: A file, a directory or a URI.

    Raises:
        LogError: The format is unknown, does not support the destination, or a package is missing.
        ConfigError: The destination cannot be written.
    """
    count, where = registered(KINDS, kind, "export")(runs, destination)
    return int(count), str(where)
