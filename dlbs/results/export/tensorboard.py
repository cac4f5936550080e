"""Export to event files for TensorBoard: times of batches and epochs as scalars, parameters and results as hyperparameters."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_core.doubts import warnings_of
from dlbs.config.declarations import Parameter
from dlbs.errors import ConfigError, require
from dlbs.files import write_bytes
from dlbs.results.export.kinds import labels_of
from dlbs.results.grouping import label_names
from dlbs.results.runs import Record, digest_of, number, status_of, timestamp
from dlbs.text import finite, text

_LONGEST = 100  # characters of a directory's name
_DIGITS = 8  # of the digest of an experiment, at the end of its directory's name
_FINISHED = {"ok": "STATUS_SUCCESS", "failure": "STATUS_FAILURE", "timeout": "STATUS_FAILURE"}


def write_events(records: Sequence[Record], declarations: Mapping[str, Parameter], destination: str) -> tuple[int, str]:
    """Write a directory with an event file for each experiment, named after the experiment; `tensorboard --logdir` shows them.

    Lists of numbers (`results.time_data`) become scalars with a step for each, other numbers scalars at step 0; the parameters that distinguish
    experiments are in the tab of hyperparameters; status and warnings are texts. An experiment that was exported to this directory before is
    written to the same file again, although its label depends on the other experiments of an export.

    Raises:
        LogError: TensorBoard is not installed.
        ConfigError: A file cannot be written.
    """
    require("tensorboard", "tensorboard")
    names = label_names(records, declarations) or ["exp.model"]
    earlier = _directories(Path(destination))
    for label, record in zip(labels_of(records, declarations), records, strict=True):
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
    return len(records), destination


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
    return re.sub(r"[^\w.=-]+", "_", label, flags=re.ASCII).strip("._")[:_LONGEST] or "experiment"


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
    for key, value in record.items():
        if not key.startswith("results."):
            continue
        numbers = value if isinstance(value, list) else [value]
        for step, one in enumerate(numbers):
            found = finite(one)
            if found is not None:
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
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName, Status
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    start = SessionStartInfo(group_name=label, start_time_secs=began)
    for name in names:
        value = record.get(name)
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif (found := finite(value)) is not None:
            start.hparams[name].number_value = found
        else:
            start.hparams[name].string_value = text(value).encode("utf-8", "replace").decode()
    kinds = {"bool_value": "DATA_TYPE_BOOL", "number_value": "DATA_TYPE_FLOAT64", "string_value": "DATA_TYPE_STRING"}
    infos = [HParamInfo(name=name, type=kinds[str(value.WhichOneof("kind"))]) for name, value in start.hparams.items()]
    shown = [
        key
        for key in ("results.throughput", "results.time", "results.accuracy_top1")
        if number(record, key) is not None
    ]
    metrics = [MetricInfo(name=MetricName(tag=key)) for key in shown]
    end = SessionEndInfo(
        status=Status.Value(_FINISHED.get(status_of(record), "STATUS_UNKNOWN")),
        end_time_secs=began + (number(record, "exp.seconds") or 0.0),
    )
    parts = {
        "_hparams_/experiment": HParamsPluginData(
            experiment=Experiment(hparam_infos=infos, metric_infos=metrics), version=0
        ),
        "_hparams_/session_start_info": HParamsPluginData(session_start_info=start, version=0),
        "_hparams_/session_end_info": HParamsPluginData(session_end_info=end, version=0),
    }
    return [
        Summary.Value(
            tag=tag,
            metadata=SummaryMetadata(
                plugin_data=SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
            ),
            tensor=NULL_TENSOR,
        )
        for tag, data in parts.items()
    ]
