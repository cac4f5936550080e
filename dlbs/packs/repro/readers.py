"""Readers of data sets: files become inputs, each with an `instance_id`."""

from __future__ import annotations

from typing import Any

from dlbs.errors import ConfigError, LogError
from dlbs.packs.jsonlines import read_jsonl_file
from dlbs.packs.registry import Registrable
from dlbs.packs.repro.types import InstanceDict

__all__ = [
    "DatasetReader",
    "HuggingfaceDatasetsDatasetReader",
    "JSONLinesDatasetReader",
    "SacreROUGEDatasetReader",
    "hf_dataset_exists_locally",
]


class DatasetReader(Registrable):
    """Base class of readers: override `_read`, and register the class under a name."""

    def read(self, *input_files: str) -> list[InstanceDict]:
        """The inputs in files.

        Raises:
            LogError: An input has no `instance_id`, or one that is not a string.
        """
        instances = self._read(*input_files)
        for number, instance in enumerate(instances, 1):
            if not isinstance(instance.get("instance_id"), str):
                given = repr(instance.get("instance_id")) if "instance_id" in instance else "none"
                raise LogError(
                    f"input {number}: instance_id must be a string, not {given}", where=", ".join(input_files)
                )
        return instances

    def _read(self, *input_files: str) -> list[InstanceDict]:
        raise NotImplementedError


@DatasetReader.register("jsonl")
class JSONLinesDatasetReader(DatasetReader):
    """A reader of JSON lines, one input per line."""

    def _read(self, *input_files: str) -> list[InstanceDict]:
        return [instance for file in input_files for instance in read_jsonl_file(file)]


@DatasetReader.register("sacrerouge")
class SacreROUGEDatasetReader(DatasetReader):
    """A reader of lines of SacreROUGE: a summary and its references, as `{"text": ...}`."""

    def _read(self, *input_files: str) -> list[InstanceDict]:
        return [_summary(line) for file in input_files for line in read_jsonl_file(file)]


def _summary(line: dict[str, Any]) -> InstanceDict:
    references = [line["reference"]] if "reference" in line else line["references"]
    return {
        "instance_id": line["instance_id"],
        "summary": line["summary"]["text"],
        "references": [reference["text"] for reference in references],
    }


@DatasetReader.register("huggingface-datasets")
class HuggingfaceDatasetsDatasetReader(DatasetReader):
    """A placeholder for data sets of Hugging Face, which DLBS does not download."""

    def __init__(self, dataset_name: str = "", split: str = "") -> None:
        self.dataset_name, self.split = dataset_name, split

    def _read(self, *input_files: str) -> list[InstanceDict]:
        hint = "save it as JSON lines, and use the reader jsonl"
        raise ConfigError(f"DLBS does not download the data set {self.dataset_name}", hint=hint)


def hf_dataset_exists_locally(name: str, version: str | None = None) -> bool:
    """Whether a data set of Hugging Face can be read: always false, since DLBS does not download data."""
    return False
