"""Exports to tools that track experiments: runs in an MLflow store, event files for TensorBoard."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark_core.doubts import warnings_of
from dlbs.core.errors import ConfigError, LogError, require
from dlbs.core.files import write_bytes
from dlbs.core.text import finite, text
from dlbs.results.export.kinds import labels_of
from dlbs.results.grouping import label_names
from dlbs.results.runs import THROUGHPUT, TIME, Record, Runs, digest_of, number, status_of, timestamp

if TYPE_CHECKING:
    from mlflow import MlflowClient

_STATUSES = {"ok": "FINISHED", "failure": "FAILED", "timeout": "FAILED", "unfinished": "FAILED"}  # all others: KILLED
_LONGEST = 6000  # characters of the value of a parameter or tag; MLflow rejects longer ones
_LONGEST_NAME = 250
_METRICS, _PARAMETERS = 1000, 100  # limits per request of MLflow
_DIGEST = "dlbs.digest"


def log_runs(runs: Runs, destination: str) -> tuple[int, str]:
    """Log each experiment as a run of the MLflow experiment named like its `exp.project`, or `dlbs`.

    Parameters become parameters, numbers metrics, and lists of numbers (`results.time_data`) metrics with a step for each. Status and warnings
    become tags. Runs that are already in the store (tag `dlbs.digest`) are not logged again; those that an interrupted export left incomplete are
    replaced.

    Args:
        runs: The experiments.
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
        for label, record in zip(labels_of(runs), runs, strict=True):
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
    parameters = (
        entities.Param(_name(name), text(value)[:_LONGEST])
        for name, value in record.items()
        if not name.startswith("results.")
    )
    while chunk := list(islice(parameters, _PARAMETERS)):
        client.log_batch(run, params=chunk)
    metrics = (entities.Metric(_name(key), value, start, step) for key, value, step in _metrics(record))
    while chunk := list(islice(metrics, _METRICS)):
        client.log_batch(run, metrics=chunk)
    end = start + int((number(record, "exp.seconds") or 0.0) * 1000)
    client.set_terminated(run, _STATUSES.get(status, "KILLED"), end)


def _metrics(record: Record) -> Iterator[tuple[str, float, int]]:
    """Yield key, value and step of each number; steps count from 0."""
    for key, value in record.items():
        if key.startswith("results."):
            for step, one in enumerate(value if isinstance(value, list) else [value]):
                if (found := finite(one)) is not None:
                    yield key, found, step


def _name(key: str) -> str:
    """Convert a key to a name that MLflow accepts."""
    return re.sub(r"[^\w.\- /]", "_", key, flags=re.ASCII)[:_LONGEST_NAME]


_LONGEST_DIRECTORY = 100  # characters of a directory's name
_DIGITS = 8  # of the digest of an experiment, at the end of its directory's name
_FINISHED = {"ok": "STATUS_SUCCESS", "failure": "STATUS_FAILURE", "timeout": "STATUS_FAILURE"}


def write_events(runs: Runs, destination: str) -> tuple[int, str]:
    """Write a directory with an event file for each experiment, named after the experiment; `tensorboard --logdir` shows them.

    Lists of numbers (`results.time_data`) become scalars with a step for each, other numbers scalars at step 0; the parameters that distinguish
    experiments are in the tab of hyperparameters; status and warnings are texts. An experiment that was exported to this directory before is
    written to the same file again, although its label depends on the other experiments of an export.

    Raises:
        LogError: TensorBoard is not installed.
        ConfigError: A file cannot be written.
    """
    require("tensorboard", "tensorboard")
    names = label_names(runs) or ["exp.model"]
    earlier = _directories(Path(destination))
    for label, record in zip(labels_of(runs), runs, strict=True):
        digest = digest_of(record)[:_DIGITS]
        directory = earlier.get(digest, Path(destination) / f"{_file_name(label)}_{digest}")
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot be created: {error.strerror}", where=str(directory)) from None
        began = timestamp(record.get("exp.start_time")) or 0.0
        # TensorBoard recognises its files by `tfevents`, and reads those of a directory in the order of their names.
        path = directory / f"events.out.tfevents.{max(0, int(began)):010}.dlbs"
        write_bytes(path, _events(record, names, label, began))
    return len(runs), destination


def _directories(destination: Path) -> dict[str, Path]:
    """Directories of experiments that were exported before, by the digest at the end of their name."""
    try:
        found = sorted(destination.iterdir(), reverse=True)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(destination)) from None
    return {path.name.rpartition("_")[2]: path for path in found if path.is_dir() and not path.is_symlink()}


def _file_name(label: str) -> str:
    """Convert a label to the name of a directory."""
    return re.sub(r"[^\w.=-]+", "_", label, flags=re.ASCII).strip("._")[:_LONGEST_DIRECTORY] or "experiment"


def _events(record: Record, names: Sequence[str], label: str, began: float) -> bytes:
    """Content of an event file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    out = io.BytesIO()
    writer = RecordWriter(out)

    def write(**content: Any) -> None:
        writer.write(Event(wall_time=began, **content).SerializeToString())

    write(file_version="brain.Event:2")
    for value in _hyperparameters(record, names, label, began):
        write(summary=Summary(value=[value]))
    for tag, words in (
        ("outcome", _outcome(record)),
        ("warnings", "\n".join(f"- {one}" for one in warnings_of(record))),
    ):
        if words:
            write(summary=Summary(value=[_text(tag, words)]))
    for key, found, step in _metrics(record):
        write(step=step, summary=Summary(value=[Summary.Value(tag=key, simple_value=found)]))
    writer.flush()
    return out.getvalue()


def _outcome(record: Record) -> str:
    return ": ".join(filter(None, [status_of(record), text(record.get("exp.status_msg"))]))


def _text(tag: str, words: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype="DT_STRING", string_val=[words.encode("utf-8", "replace")], tensor_shape=shape)
    return Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)


def _hyperparameters(record: Record, names: Sequence[str], label: str, began: float) -> list[Any]:
    """Summaries for the tab of hyperparameters: all names, the values of this experiment, and its end."""
    from google.protobuf.json_format import ParseDict
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName, Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    start = SessionStartInfo(group_name=label, start_time_secs=began)
    for name in names:
        value = record.get(name)
        if not isinstance(value, bool) and (value := finite(value)) is None:
            value = text(record.get(name)).encode("utf-8", "replace").decode()
        ParseDict(value, start.hparams[name])
    kinds = {"bool_value": "DATA_TYPE_BOOL", "number_value": "DATA_TYPE_FLOAT64", "string_value": "DATA_TYPE_STRING"}
    infos = [HParamInfo(name=name, type=kinds[str(value.WhichOneof("kind"))]) for name, value in start.hparams.items()]
    keys = (THROUGHPUT, TIME, "results.accuracy_top1")
    metrics = [MetricInfo(name=MetricName(tag=key)) for key in keys if number(record, key) is not None]
    end = SessionEndInfo(
        status=Status.Value(_FINISHED.get(status_of(record), "STATUS_UNKNOWN")),
        end_time_secs=began + (number(record, "exp.seconds") or 0.0),
    )
    experiment = Experiment(hparam_infos=infos, metric_infos=metrics)
    parts = {
        metadata.EXPERIMENT_TAG: HParamsPluginData(experiment=experiment),
        metadata.SESSION_START_INFO_TAG: HParamsPluginData(session_start_info=start),
        metadata.SESSION_END_INFO_TAG: HParamsPluginData(session_end_info=end),
    }
    return [
        Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
        for tag, data in parts.items()
    ]
