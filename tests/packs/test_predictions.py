"""What models in containers predict, and how their outputs become lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import ConfigError, LaunchError
from dlbs.packs.container_model import Model, load_model, predict_lines, write_jsonl_file
from dlbs.packs.definition import find_pack
from tests.conftest import RunDlbs

INPUTS = [{"text": "a"}, {"text": "bb"}, {"text": "ccc"}]

METRICS = """
from dlbs.packs.container_model import Model

@Model.register("lengths")
class Lengths(Model):
    def predict_batch(self, inputs, **options):
        return [len(one["text"]) for one in inputs]

@Model.register("metric")
class Metric(Model):
    def predict_batch(self, inputs, **options):
        each = [{"length": len(one["text"])} for one in inputs]
        return {"mean": sum(one["length"] for one in each) / len(each)}, each
"""


class Giving(Model):
    """Gives what it was made with, whatever it is asked."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def predict_batch(self, inputs: Any, **options: Any) -> Any:
        return self.output


def container(directory: Path, source: str = METRICS) -> Path:
    directory.mkdir(parents=True)
    (directory / "Dockerfile").write_text("FROM scratch\n")
    (directory / "model.py").write_text(source)
    (directory / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in INPUTS))
    return directory


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ([1, {"x": 2}, None], [{"output": 1}, {"x": 2}, {"output": None}]),
        ({"f1": 0.5, "recall": 0.7}, [{"f1": 0.5, "recall": 0.7}]),
        (({"f1": 0.5}, [1, 2, 3]), [{"output": ({"f1": 0.5}, [1, 2, 3])}]),
        ((1, 2, 3), [{"output": (1, 2, 3)}]),
        ("text", [{"output": "text"}]),
    ],
)
def test_every_result_becomes_lines_whole(given: Any, lines: list[Any]) -> None:
    assert list(predict_lines(Giving(given), INPUTS)) == lines


def test_outputs_may_come_one_by_one() -> None:
    def one_by_one() -> Iterator[int]:
        yield from (1, 2, 3)

    assert [line["output"] for line in predict_lines(Giving(one_by_one()), INPUTS)] == [1, 2, 3]


def test_a_list_of_another_length_is_an_error() -> None:
    with pytest.raises(LaunchError, match="returned 2 outputs for 3 inputs"):
        list(predict_lines(Giving([1, 2]), INPUTS))


def test_one_result_for_a_part_of_the_inputs_is_an_error() -> None:
    with pytest.raises(LaunchError, match=r"one result for all inputs \(dict\), but received 2 of 3"):
        list(predict_lines(Giving({"f1": 1}), INPUTS, 2))


def test_what_json_has_not_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="value 2 cannot be written as JSON: Object of type set"):
        write_jsonl_file(tmp_path / "out", [1, {2}])
    assert not (tmp_path / "out").exists()


def test_predict_takes_fields_by_name_or_one_mapping_and_drops_nothing() -> None:
    class Echo(Model):
        def predict_batch(self, inputs: Any, **options: Any) -> Any:
            return inputs

    assert Echo().predict(text="x") == Echo().predict({"text": "x"}) == {"text": "x"}
    for arguments, instance in ((("x",), {}), (({"text": "x"},), {"more": 1}), (({}, {}), {})):
        with pytest.raises(TypeError, match="predict takes the fields of an input as keywords"):
            Echo().predict(*arguments, **instance)


def test_one_of_several_models_is_chosen_by_name(tmp_path: Path) -> None:
    pack = find_pack(str(container(tmp_path / "two")))
    assert load_model(pack, name="lengths").predict_batch(INPUTS) == [1, 2, 3]
    assert type(load_model(pack, name="metric")).__name__ == "Metric"
    with pytest.raises(ConfigError, match=r"registers several models: lengths, metric.*--model NAME"):
        load_model(pack)
    with pytest.raises(ConfigError, match="did you mean 'metric'"):
        load_model(pack, name="metrc")


def test_a_pack_says_which_model_it_is(tmp_path: Path) -> None:
    directory = container(tmp_path / "chosen")
    (directory / "pack.yaml").write_text("chosen: {predictor: lengths}\n")
    assert load_model(find_pack(str(directory))).predict(text="abc") == 3


def test_predicting_loses_nothing(dlbs: RunDlbs, tmp_path: Path) -> None:
    container(tmp_path / "packs" / "two")
    predict = ("pack", "predict", "two", "--input-files", "packs/two/in.jsonl", "--output", "out.jsonl")
    done = dlbs(*predict, "--model", "metric")
    assert done.returncode == 0, done.stderr
    assert "1 output for 3 inputs → out.jsonl" in done.stderr
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line)["output"] == [{"mean": 2.0}, [{"length": 1}, {"length": 2}, {"length": 3}]]
    assert dlbs(*predict, "--model", "lengths", "--batch-size", "2").returncode == 0
    assert [json.loads(line)["output"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [1, 2, 3]
    done = dlbs(*predict)
    assert done.returncode == 2
    assert "registers several models: lengths, metric" in done.stderr
