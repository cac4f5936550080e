"""Files that models of Repro read and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import ConfigError, LaunchError, LogError
from dlbs.suites.repro.data import (
    DatasetReader,
    OutputWriter,
    TemporaryDirectory,
    read_jsonl_file,
    write_to_jsonl_file,
    write_to_text_file,
)


def test_texts_are_lines_and_their_directory_is_made(tmp_path: Path) -> None:
    file = tmp_path / "new" / "texts.txt"
    write_to_text_file(["one", ["two", "three"]], str(file))
    assert file.read_text() == "one\ntwo three\n"
    write_to_text_file([["two", "three"]], str(file), separator="|")
    assert file.read_text() == "two|three\n"


def test_items_are_json_lines_under_a_key(tmp_path: Path) -> None:
    file = tmp_path / "new" / "items.jsonl"
    write_to_jsonl_file(["one", ["two", "three"]], "text", str(file))
    assert read_jsonl_file(file) == [{"text": "one"}, {"text": ["two", "three"]}]
    write_to_jsonl_file([["two", "three"]], "text", str(file), flatten=True, separator="+")
    assert read_jsonl_file(str(file)) == [{"text": "two+three"}]


def test_values_may_follow_each_other_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    file.write_text('{"a": 1}[2, 3]"x" 4\n{}')
    assert read_jsonl_file(str(file), single_line=True) == [{"a": 1}, [2, 3], "x", 4, {}]
    file.write_text("")
    assert read_jsonl_file(file, single_line=True) == []
    file.write_text('{"a": 1}{"b"')
    with pytest.raises(LogError, match=r"one.jsonl: not JSON .*'\{\"b\"'"):
        read_jsonl_file(file, single_line=True)
    with pytest.raises(LogError, match="none: cannot be read"):
        read_jsonl_file(tmp_path / "none", single_line=True)


def test_a_temporary_directory_is_gone_at_the_end_unless_it_persists(tmp_path: Path) -> None:
    with TemporaryDirectory(root=str(tmp_path)) as directory:
        assert Path(directory).parent == tmp_path
        Path(directory, "file").touch()
    assert not Path(directory).exists()
    with TemporaryDirectory(str(tmp_path), persist=True) as directory:
        pass
    assert Path(directory).is_dir()


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_inputs_are_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"instance_id": "a", "text": "x"}\n')
    assert DatasetReader.by_name("jsonl")().read(str(file), str(file)) == [{"instance_id": "a", "text": "x"}] * 2
    file.write_text(
        '{"instance_id": "a", "summary": {"text": "s"}, "reference": {"text": "r"}}\n'
        '{"instance_id": "b", "summary": {"text": "t"}, "references": [{"text": "q"}, {"text": "r"}]}\n'
    )
    assert DatasetReader.by_name("sacrerouge")().read(str(file)) == [
        {"instance_id": "a", "summary": "s", "references": ["r"]},
        {"instance_id": "b", "summary": "t", "references": ["q", "r"]},
    ]
    with pytest.raises(ConfigError, match=r"unknown DatasetReader 'json'.*did you mean 'jsonl'"):
        DatasetReader.by_name("json")
    with pytest.raises(ConfigError, match="DLBS does not download the data set xsum"):
        DatasetReader.by_name("huggingface-datasets")("xsum", "test").read()


@pytest.mark.parametrize(("line", "given"), [("{}", "none"), ('{"instance_id": 5}', "5")])
def test_inputs_have_an_instance_id(tmp_path: Path, line: str, given: str) -> None:
    (tmp_path / "in").write_text(line + "\n")
    with pytest.raises(LogError, match=f"in: input 1: instance_id must be a string, not {given}"):
        DatasetReader.by_name("jsonl")().read(str(tmp_path / "in"))


INPUTS = [{"instance_id": "a", "references": ["r", "s"]}, {"instance_id": "b", "reference": "t"}]


def test_predictions_are_written_by_name(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    OutputWriter.by_name("default")().write(INPUTS, ["x", "y"], str(out), model_name="m")
    assert lines(out) == [
        {"instance_id": "a", "model_id": "m", "prediction": "x"},
        {"instance_id": "b", "model_id": "m", "prediction": "y"},
    ]
    OutputWriter.by_name("default")(include_input=True).write(INPUTS[:1], ["x"], str(out), "m")
    assert lines(out) == [{"instance_id": "a", "model_id": "m", "input": INPUTS[0], "prediction": "x"}]
    OutputWriter.by_name("sacrerouge")().write(INPUTS, ["x", "y"], str(out), model_name="m")
    peer = {"summarizer_id": "m", "summarizer_type": "peer"}
    assert lines(out) == [
        {"instance_id": "a", **peer, "summary": {"text": "x"}, "references": [{"text": "r"}, {"text": "s"}]},
        {"instance_id": "b", **peer, "summary": {"text": "y"}, "reference": {"text": "t"}},
    ]
    OutputWriter.by_name("metrics")().write(INPUTS, {"f1": 0.5}, str(out), model_name="m")
    assert json.loads(out.read_text()) == {"f1": 0.5}


@pytest.mark.parametrize(
    ("predictions", "given"), [(["x"], "not 1"), ({"f1": 1}, "not a dict"), (("x", "y"), "not a tuple")]
)
def test_a_writer_of_lines_needs_a_prediction_for_each_input(tmp_path: Path, predictions: Any, given: str) -> None:
    with pytest.raises(LaunchError, match=rf"one prediction for each of 2 inputs, {given} .*the writer metrics"):
        OutputWriter.by_name("default")().write(INPUTS, predictions, str(tmp_path / "out"), model_name="m")
    assert not (tmp_path / "out").exists()
