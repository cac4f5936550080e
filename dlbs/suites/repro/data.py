"""Names of Repro's `common`, `common.io` and `data`: files that a model and its caller exchange, readers of data sets, writers of predictions."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dlbs.core.errors import ConfigError
from dlbs.packs.container_model import (  # noqa: F401
    DatasetReader,
    DefaultOutputWriter,
    JSONLinesDatasetReader,
    MetricsOutputWriter,
    OutputWriter,
    Registrable,
    read_jsonl_file,
    write_jsonl_file,
)
from dlbs.suites.repro.values import InstanceDict, TextType
from dlbs.suites.repro.values import flatten as joined

ConfigurationError = ConfigError  # its name in Repro


@contextmanager
def TemporaryDirectory(root: str | None = None, persist: bool = False) -> Iterator[str]:
    """A directory that is removed at the end: `with TemporaryDirectory() as path`.

    Args:
        root: Its parent; by default that of temporary files.
        persist: Keep it.
    """
    path = tempfile.mkdtemp(prefix="dlbs-", dir=root)
    try:
        yield path
    finally:
        if not persist:
            shutil.rmtree(path)


def write_to_text_file(items: Iterable[TextType], file_path: str, separator: str | None = None) -> None:
    """Write texts, one per line, and create the directory of the file if missing.

    Args:
        items: Texts, or lists of sentences.
        file_path: The file.
        separator: Separator of sentences; a space by default.
    """
    _make_directory_of(file_path)
    with open(file_path, "w", encoding="utf-8") as stream:
        for item in items:
            stream.write(joined(item, separator) + "\n")


def write_to_jsonl_file(
    items: Iterable[Any], key: str, file_path: str, flatten: bool = False, separator: str | None = None
) -> None:
    """Write a line `{key: item}` for each item, and create the directory of the file if missing.

    Args:
        items: Values that JSON can represent.
        key: The key of each line.
        file_path: The file.
        flatten: Join the sentences of each item.
        separator: Separator of sentences; a space by default.
    """
    _make_directory_of(file_path)
    write_jsonl_file(file_path, ({key: joined(item, separator) if flatten else item} for item in items))


def _make_directory_of(file: str) -> None:
    directory = os.path.dirname(file)
    if directory:
        os.makedirs(directory, exist_ok=True)


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


@OutputWriter.register("sacrerouge")
class SacreROUGEOutputWriter(OutputWriter):
    """A writer of lines for SacreROUGE: the predicted summary, and the references of the input."""

    def __init__(self) -> None:
        super().__init__(True)

    def _write(
        self, instances: Sequence[Mapping[str, Any]], predictions: Any, output_file_or_dir: str, model_name: str = ""
    ) -> None:
        lines = []
        for instance, prediction in zip(instances, predictions, strict=True):
            line: dict[str, Any] = {"instance_id": instance["instance_id"], "summarizer_id": model_name}
            line.update({"summarizer_type": "peer", "summary": {"text": prediction}})
            if "reference" in instance:
                line["reference"] = {"text": instance["reference"]}
            elif "references" in instance:
                line["references"] = [{"text": text} for text in instance["references"]]
            lines.append(line)
        write_jsonl_file(output_file_or_dir, lines)
