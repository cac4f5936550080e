"""Export runs to an MLflow store: a directory or a tracking server."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark_core.doubts import warnings_of
from dlbs.config.declarations import Parameter
from dlbs.errors import LogError, require
from dlbs.results.export.kinds import labels_of
from dlbs.results.runs import Record, digest_of, number, status_of, timestamp
from dlbs.text import finite, text

if TYPE_CHECKING:
    from mlflow import MlflowClient


_STATUSES = {"ok": "FINISHED", "failure": "FAILED", "timeout": "FAILED", "unfinished": "FAILED"}  # all others: KILLED
_LONGEST = 6000  # characters of the value of a parameter or tag; MLflow rejects longer ones
_LONGEST_NAME = 250
_METRICS, _PARAMETERS = 1000, 100  # limits per request of MLflow
_DIGEST = "dlbs.digest"


def log_runs(records: Sequence[Record], declarations: Mapping[str, Parameter], destination: str) -> tuple[int, str]:
    """Log each experiment as a run of the MLflow experiment named like its `exp.project`, or `dlbs`.

    Parameters become parameters, numbers metrics, and lists of numbers (`results.time_data`) metrics with a step for each. Status and warnings
    become tags. Runs that are already in the store (tag `dlbs.digest`) are not logged again; those that an interrupted export left incomplete are
    replaced.

    Args:
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        destination: A directory, or a URI that MLflow supports, such as `http://HOST:PORT`.

    Raises:
        LogError: MLflow is not installed, or reports an error.
    """
    # By default, MLflow looks for a repository and sends usage data; an export does neither.
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        os.environ.setdefault(name, "true")
    mlflow = require("mlflow", "mlflow")
    uri = destination if "://" in destination else Path(destination).absolute().as_uri()
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        made: dict[str, tuple[str, set[str], dict[str, list[str]]]] = {}
        new = 0
        for label, record in zip(labels_of(records, declarations), records, strict=True):
            project = text(record.get("exp.project")) or "dlbs"
            if project not in made:
                made[project] = _experiment(client, project)
            experiment, known, incomplete = made[project]
            digest = digest_of(record)
            if digest not in known:
                known.add(digest)
                for run in incomplete.get(digest, ()):
                    client.delete_run(run)
                _log_run(mlflow, client, experiment, label, digest, record)
                new += 1
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise LogError(f"MLflow error: {' '.join(str(error).split())[:300]}", where=destination) from None
    return new, destination


def _experiment(client: MlflowClient, project: str) -> tuple[str, set[str], dict[str, list[str]]]:
    """ID of an experiment, created if it is missing, the digests of its complete runs, and its incomplete runs by digest."""
    found = client.get_experiment_by_name(project)
    known: set[str] = set()
    incomplete: dict[str, list[str]] = {}
    if found is None:
        return client.create_experiment(project), known, incomplete
    token = None
    while True:
        page = client.search_runs([found.experiment_id], max_results=1000, page_token=token)
        for run in page:
            digest = run.data.tags.get(_DIGEST, "")
            if run.info.status == "RUNNING":  # an export ends a run last
                incomplete.setdefault(digest, []).append(run.info.run_id)
            else:
                known.add(digest)
        token = page.token
        if not token:
            return found.experiment_id, known, incomplete


def _log_run(mlflow: Any, client: MlflowClient, experiment: str, label: str, digest: str, record: Record) -> None:
    entities = mlflow.entities
    began = timestamp(record.get("exp.start_time"))
    start = int((time.time() if began is None else began) * 1000)
    status = status_of(record)
    tags = {
        "mlflow.runName": label, "mlflow.source.name": "dlbs", _DIGEST: digest, "dlbs.status": status,
        "dlbs.status_msg": text(record.get("exp.status_msg")), "dlbs.warnings": "\n".join(warnings_of(record)),
        "dlbs.log": text(record.get("exp.log_file")),
    }  # fmt: skip
    run = client.create_run(
        experiment, start_time=start, tags={name: value[:_LONGEST] for name, value in tags.items() if value}
    ).info.run_id
    parameters = iter(
        [
            entities.Param(_name(name), text(value)[:_LONGEST])
            for name, value in record.items()
            if not name.startswith("results.")
        ]
    )
    while chunk := list(islice(parameters, _PARAMETERS)):
        client.log_batch(run, params=chunk)
    metrics = (entities.Metric(name, value, start, step) for name, value, step in _metrics(record))
    while chunk := list(islice(metrics, _METRICS)):
        client.log_batch(run, metrics=chunk)
    end = start + int((number(record, "exp.seconds") or 0.0) * 1000)
    client.set_terminated(run, _STATUSES.get(status, "KILLED"), end)


def _metrics(record: Record) -> Iterator[tuple[str, float, int]]:
    """Yield name, value and step of each number; steps count from 0."""
    for key, value in record.items():
        if not key.startswith("results."):
            continue
        if isinstance(value, list):
            for step, one in enumerate(value):
                found = finite(one)
                if found is not None and math.isfinite(found):
                    yield _name(key), found, step
        elif (found := number(record, key)) is not None:
            yield _name(key), found, 0


def _name(key: str) -> str:
    """Convert a key to a name that MLflow accepts."""
    return re.sub(r"[^\w.\- /]", "_", key, flags=re.ASCII)[:_LONGEST_NAME]
