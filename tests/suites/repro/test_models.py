"""Model files that were written for Repro load as they are, from a directory with their Dockerfile."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import ConfigError, LaunchError
from dlbs.packs.container_model import Model, Registrable, load_model
from dlbs.packs.definition import find_pack
from dlbs.suites.repro import MODULES
from dlbs.suites.repro import models as bases
from dlbs.suites.repro.values import assert_dicts_approx_equal, get_testing_device_parameters
from tests.conftest import ROOT, RunDlbs

pytestmark = pytest.mark.usefixtures("own_registry")

# A package as that suite has them: constants, the model, the class that builds its image, helpers, a reader of its own.
PACKAGE = {
    "__init__.py": """
import os

VERSION = "1.1"
MODEL_NAME = os.path.basename(os.path.dirname(__file__))
DEFAULT_IMAGE = f"somebody/{MODEL_NAME}:{VERSION}"
AUTOMATICALLY_PUBLISH = True

from repro.models.PACK.model import Longest
from repro.models.PACK.reader import Words
from repro.models.PACK.setup import Setup
""",
    "model.py": """
import logging
from typing import Dict, List

from overrides import overrides

from repro.common import TemporaryDirectory, util
from repro.common.docker import DockerContainer, make_volume_map, run_command
from repro.common.io import read_jsonl_file, write_to_jsonl_file, write_to_text_file
from repro.data.types import DocumentType, MetricsType, SummaryType, TextType
from repro.models import Model, SingleDocumentSummarizationModel
from repro.models.PACK import DEFAULT_IMAGE, MODEL_NAME
from repro.models.PACK.commands import longest


@Model.register(f"{MODEL_NAME}-longest")
class Longest(SingleDocumentSummarizationModel):
    def __init__(self, least: int, image: str = DEFAULT_IMAGE, device: int = 0) -> None:
        self.least, self.image, self.device = least, image, device

    @overrides
    def predict_batch(self, inputs: List[Dict[str, DocumentType]], *args, **kwargs) -> List[SummaryType]:
        return [longest(util.flatten(one["document"]), self.least) for one in inputs]
""",
    "commands.py": """
def longest(text, least):
    return max([word for word in text.split() if len(word) >= least], key=len, default="")
""",
    "reader.py": """
from repro.data.dataset_readers import DatasetReader
from repro.data.types import InstanceDict


@DatasetReader.register("PACK-words")
class Words(DatasetReader):
    def _read(self, *files):
        texts = [open(file).read() for file in files]
        return [{"instance_id": str(number), "document": text} for number, text in enumerate(texts)]
""",
    "setup.py": """
from repro import MODELS_ROOT
from repro.commands.subcommand import SetupSubcommand
from repro.common.docker import BuildDockerImageSubcommand, build_image
from repro.models.PACK import DEFAULT_IMAGE, MODEL_NAME


@SetupSubcommand.register(MODEL_NAME)
class Setup(BuildDockerImageSubcommand):
    def __init__(self) -> None:
        super().__init__(f"{MODELS_ROOT}/{MODEL_NAME}", DEFAULT_IMAGE)
""",
}


def package(directory: Path, files: dict[str, str] = PACKAGE) -> Path:
    directory.mkdir(parents=True)
    (directory / "Dockerfile").write_text("FROM scratch\n")
    for name, content in files.items():
        (directory / name).write_text(content.replace("PACK", directory.name))
    return directory


def test_a_package_of_repro_loads_as_it_is(tmp_path: Path) -> None:
    pack = find_pack(str(package(tmp_path / "long2020")))
    model = load_model(pack, arguments={"least": 3})
    assert type(model).__name__ == "Longest"
    assert isinstance(model, bases.SingleDocumentSummarizationModel)
    assert model.predict(document=["a bee", "a mongoose"]) == "mongoose"
    assert vars(model) == {"least": 3, "image": "dlbs/long2020:latest", "device": -1}
    assert Model.list_available() == ["long2020-longest"]


UNIT_TEST = """
import unittest
from repro.models.long2020 import Longest

class TestLongest(unittest.TestCase):
    def test_least(self):
        assert Longest(least=3).predict(document=["a bee", "a mongoose"]) == "mongoose"
"""


@pytest.mark.integration
def test_its_unit_tests_run_unchanged_with_the_plugin(tmp_path: Path) -> None:
    tests = package(tmp_path / "packs" / "long2020") / "tests"
    tests.mkdir()
    (tests / "__init__.py").touch()
    (tests / "model_test.py").write_text(UNIT_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "packs/long2020/tests/model_test.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for plugin, said in (([], "No module named 'repro'"), (["-p", "dlbs.suites.repro"], "1 passed")):
        done = subprocess.run(
            [*command, *plugin], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert said in done.stdout, done.stdout


def test_packages_of_the_same_name_are_not_mixed_up(tmp_path: Path) -> None:
    for number in (1, 2):
        files = {**PACKAGE, "commands.py": f"def longest(text, least): return {number}\n"}
        pack = find_pack(str(package(tmp_path / str(number) / "long2020", files)))
        assert load_model(pack, arguments={"least": 3}).predict("") == number


def test_a_package_may_build_on_one_beside_it(tmp_path: Path) -> None:
    package(tmp_path / "long2020")
    heir = "\nfrom repro.models import Model\nfrom repro.models.long2020 import Longest\n\n\n"
    heir += '@Model.register("PACK")\nclass Heir(Longest):\n    """The same."""\n'
    pack = find_pack(str(package(tmp_path / "heir2021", {"__init__.py": "", "models.py": heir})))
    assert type(load_model(pack, arguments={"least": 1})).__name__ == "Heir"


def test_a_model_file_alone_finds_the_constants_of_its_package(tmp_path: Path) -> None:
    source = """
from repro.models import Model
from repro.models.PACK import DEFAULT_IMAGE, MODEL_NAME

@Model.register(f"{MODEL_NAME}-model")
class Constants(Model):
    def __init__(self, image: str = DEFAULT_IMAGE): self.image = image
    def predict(self, text): return self.predict_batch([{"text": text}])[0]
    def predict_batch(self, inputs, **kwargs): return [f"{one['text']} by {self.image}" for one in inputs]
"""
    directory = package(tmp_path / "tutorial", {"model.py": source})
    assert load_model(find_pack(str(directory))).predict("x") == "x by dlbs/tutorial:latest"
    assert Model.list_available() == ["tutorial-model"]


def test_a_module_that_is_not_provided_is_named(tmp_path: Path) -> None:
    directory = package(tmp_path / "odd", {"model.py": "import repro.common.magic\n"})
    with pytest.raises(LaunchError, match=r"odd/model.py: .*repro.common.magic is not provided by DLBS"):
        load_model(find_pack(str(directory)))


def test_arguments_of_the_constructor_come_from_the_pack_and_are_checked(tmp_path: Path) -> None:
    directory = package(tmp_path / "long2020")
    pack = find_pack(str(directory))
    with pytest.raises(
        ConfigError, match=r"missing 1 required positional argument: 'least'.*least, image, device.*argv"
    ):
        load_model(pack)
    (directory / "pack.yaml").write_text("long2020: {argv: {--least: 4}}\n")
    pack = find_pack(str(directory))
    assert load_model(pack).predict("to be or not") == ""
    assert load_model(pack, arguments={"least": 2}).predict("to be or not") == "not"
    with pytest.raises(ConfigError, match="unexpected keyword argument 'most'"):
        load_model(pack, arguments={"most": 2})


def test_predicting_with_reader_writer_and_arguments(dlbs: RunDlbs, tmp_path: Path) -> None:
    package(tmp_path / "packs" / "long2020")
    (tmp_path / "in.txt").write_text("a longer word\n")
    predict = ("pack", "predict", "long2020", "--input-files", "in.txt", "--output", "out.jsonl")
    own = ("--dataset-reader", "long2020-words", "--output-writer", "default")
    done = dlbs(*predict, *own, "--model-kwargs", '{"least": 2}')
    assert done.returncode == 0, done.stderr
    assert (
        tmp_path / "out.jsonl"
    ).read_text() == '{"instance_id": "0", "model_id": "long2020", "prediction": "longer"}\n'
    for arguments, said in (
        ((), "missing 1 required positional argument: 'least'"),
        (("--model-kwargs", "[1]"), "--model-kwargs: must be a JSON object"),
        (("--model-kwargs", '{"least": 1}', "--dataset-reader", "jsonlines"), "did you mean 'jsonl'"),
        (("--model-kwargs", '{"least": 1}', *own, "--batch-size", "1"), "cannot be used with an output writer"),
    ):
        done = dlbs(*predict, *arguments)
        assert done.returncode == 2
        assert said in done.stderr


NAMES = {  # module of Repro → the names that files import from it
    "repro": "MODELS_ROOT",
    "repro.commands.subcommand": "RootSubcommand SetupSubcommand Subcommand",
    "repro.common": "ConfigurationError Registrable TemporaryDirectory",
    "repro.common.checks": "ConfigurationError Registrable TemporaryDirectory",
    "repro.common.docker": "BuildDockerImageSubcommand DockerContainer DockerContainerError build_image image_exists make_volume_map pull_image remove_image run_command",
    "repro.common.io": "TemporaryDirectory read_jsonl_file write_to_jsonl_file write_to_text_file",
    "repro.common.registrable": "Registrable",
    "repro.common.tempdir": "TemporaryDirectory read_jsonl_file write_to_jsonl_file write_to_text_file",
    "repro.common.util": "NestedDict aggregate_metrics_by_group aggregate_parallel_metrics average_dicts check_for_single_texts flatten flatten_nested_dict get_default_dict group_by_references insert_empty_values is_empty_text remove_empty_inputs unflatten_dict ungroup_values",
    "repro.data.dataset_readers": "DatasetReader HuggingfaceDatasetsDatasetReader JSONLinesDatasetReader SacreROUGEDatasetReader hf_dataset_exists_locally",
    "repro.data.output_writers": "DefaultOutputWriter MetricsOutputWriter OutputWriter SacreROUGEOutputWriter",
    "repro.data.types": "DocumentType InstanceDict MetricsType SummaryType TextType",
    "repro.models": "DocumentType Model ParallelModel QuestionAnsweringModel QuestionGenerationModel RecipeGenerationModel SingleDocumentSummarizationModel SummaryType TruecasingModel",
    "repro.models.model": "DocumentType Model ParallelModel QuestionAnsweringModel QuestionGenerationModel RecipeGenerationModel SingleDocumentSummarizationModel SummaryType TruecasingModel",
    "repro.testing": "FIXTURES_ROOT assert_dicts_approx_equal get_testing_device_parameters",
    "overrides": "override overrides",
}  # fmt: skip


def test_every_name_of_repro_is_provided() -> None:
    assert {module for module, ours in MODULES.items() if ours} == NAMES.keys()
    for module, names in NAMES.items():
        ours = importlib.import_module(MODULES[module])
        assert [name for name in names.split() if not hasattr(ours, name)] == [], module


def test_names_are_registered_once_unless_replacing_is_meant() -> None:
    class Shape(Registrable):
        size = 0

        @classmethod
        def large(cls) -> int:
            return 9

    @Shape.register("square")
    @Shape.register("large square", constructor="large")
    class Square(Shape):
        pass

    assert Shape.list_available() == ["large square", "square"]
    assert Shape.by_name("square") is Square
    assert Shape.by_name("large square")() == 9
    with pytest.raises(ConfigError, match=r"Shape 'square' is registered twice .*exist_ok=True"):

        @Shape.register("square")
        class Other(Shape):
            pass

    @Shape.register("square", exist_ok=True)
    class Third(Shape):
        pass

    assert Shape.by_name("square") is Third


class Ten(Model):
    def __init__(self, factor: int = 10) -> None:
        self.factor = factor

    def predict_batch(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
        return [one * self.factor for one in inputs]


def test_parallel_models_share_the_inputs() -> None:
    assert bases.ParallelModel(Ten, num_models=2).predict_batch([0, 1, 2]) == [[0, 10], [20]]
    assert bases.ParallelModel(Ten, [{"factor": 1}, {"factor": 2}, {"factor": 3}]).predict_batch([1, 1]) == [[1], [2]]
    assert bases.ParallelModel(Ten, num_models=2).predict_batch([]) == []
    for options in ({}, {"num_models": 0}, {"num_models": 1, "model_kwargs_list": [{}]}):
        with pytest.raises(ConfigError, match="either model_kwargs_list or a positive num_models"):
            bases.ParallelModel(Ten, **options)


class Echo(
    bases.QuestionAnsweringModel, bases.QuestionGenerationModel, bases.RecipeGenerationModel, bases.TruecasingModel
):
    def predict_batch(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
        return inputs


@pytest.mark.parametrize(
    ("base", "arguments", "asked"),
    [
        (bases.QuestionAnsweringModel, ("c", "q"), {"context": "c", "question": "q"}),
        (bases.QuestionGenerationModel, ("c", 1, 2), {"context": "c", "start": 1, "end": 2}),
        (bases.RecipeGenerationModel, ("n", ["i"]), {"name": "n", "ingredients": ["i"]}),
        (bases.TruecasingModel, ("t",), {"text": "t"}),
        (bases.SingleDocumentSummarizationModel, ("d",), {"document": "d"}),
    ],
)
def test_base_classes_name_what_they_are_asked(base: Any, arguments: Any, asked: dict[str, Any]) -> None:
    assert base.predict(Echo(), *arguments) == asked


def test_tests_of_models_get_their_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_testing_device_parameters() == [(-1,)]
    assert get_testing_device_parameters(gpu_only=True) == []
    assert_dicts_approx_equal({"a": {"b": 1.0}}, {"a": {"b": 1.0000001}})
    with pytest.raises(AssertionError, match=r"a\.b: 1\.0 differs from 1\.1"):
        assert_dicts_approx_equal({"a": {"b": 1.0}}, {"a": {"b": 1.1}}, abs=0.01)
    with pytest.raises(AssertionError, match="different keys"):
        assert_dicts_approx_equal({"a": 1}, {"b": 1})
