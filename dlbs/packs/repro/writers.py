"""Writers of predictions: outputs become lines of a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlbs.errors import LaunchError
from dlbs.files import write_atomically
from dlbs.packs.jsonlines import write_jsonl_file
from dlbs.packs.registry import Registrable
from dlbs.packs.repro.types import InstanceDict

__all__ = ["DefaultOutputWriter", "MetricsOutputWriter", "OutputWriter", "SacreROUGEOutputWriter"]


class OutputWriter(Registrable):
    """Base class of writers: override `_write`, and register the class under a name.

    Args:
        prediction_per_instance: Whether there must be one prediction for each input.
    """

    def __init__(self, prediction_per_instance: bool) -> None:
        self.prediction_per_instance = prediction_per_instance

    def write(
        self,
        instances: Sequence[InstanceDict],
        predictions: Any,
        output_file_or_dir: str,
        *arguments: Any,
        **options: Any,
    ) -> None:
        """Write the predictions of a model.

        Raises:
            LaunchError: A prediction per input is required, and the numbers differ.
        """
        if self.prediction_per_instance and (not isinstance(predictions, list) or len(predictions) != len(instances)):
            given = len(predictions) if isinstance(predictions, list) else f"a {type(predictions).__name__}"
            raise LaunchError(
                f"the writer needs one prediction for each of {len(instances)} inputs, not {given}",
                hint="use the writer metrics for one result of all inputs",
            )
        directory = os.path.dirname(output_file_or_dir)
        if directory:
            os.makedirs(directory, exist_ok=True)
        self._write(instances, predictions, output_file_or_dir, *arguments, **options)

    def _write(
        self,
        instances: Sequence[InstanceDict],
        predictions: Any,
        output_file_or_dir: str,
        *arguments: Any,
        **options: Any,
    ) -> None:
        raise NotImplementedError


@OutputWriter.register("default")
class DefaultOutputWriter(OutputWriter):
    """A writer of one line per input: `instance_id`, `model_id` and `prediction`.

    Args:
        include_input: Also write the input.
    """

    def __init__(self, include_input: bool = False) -> None:
        super().__init__(True)
        self.include_input = include_input

    def _write(
        self,
        instances: Sequence[InstanceDict],
        predictions: Any,
        output_file_or_dir: str,
        *arguments: Any,
        **options: Any,
    ) -> None:
        model = options.get("model_name", arguments[0] if arguments else "")
        lines = []
        for instance, prediction in zip(instances, predictions, strict=True):
            line = {"instance_id": instance["instance_id"], "model_id": model}
            lines.append({**line, **({"input": instance} if self.include_input else {}), "prediction": prediction})
        write_jsonl_file(output_file_or_dir, lines)


@OutputWriter.register("metrics")
class MetricsOutputWriter(OutputWriter):
    """A writer of one JSON document: the result of the model for all inputs."""

    def __init__(self) -> None:
        super().__init__(False)

    def _write(
        self,
        instances: Sequence[InstanceDict],
        predictions: Any,
        output_file_or_dir: str,
        *arguments: Any,
        **options: Any,
    ) -> None:
        with write_atomically(Path(output_file_or_dir)) as stream:
            json.dump(predictions, stream, indent=2)


@OutputWriter.register("sacrerouge")
class SacreROUGEOutputWriter(OutputWriter):
    """A writer of lines for SacreROUGE: the predicted summary, and the references of the input."""

    def __init__(self) -> None:
        super().__init__(True)

    def _write(
        self,
        instances: Sequence[InstanceDict],
        predictions: Any,
        output_file_or_dir: str,
        *arguments: Any,
        **options: Any,
    ) -> None:
        model = options.get("model_name", arguments[0] if arguments else "")
        lines = []
        for instance, prediction in zip(instances, predictions, strict=True):
            line: dict[str, Any] = {"instance_id": instance["instance_id"], "summarizer_id": model}
            line.update({"summarizer_type": "peer", "summary": {"text": prediction}})
            if "reference" in instance:
                line["reference"] = {"text": instance["reference"]}
            elif "references" in instance:
                line["references"] = [{"text": text} for text in instance["references"]]
            lines.append(line)
        write_jsonl_file(output_file_or_dir, lines)
