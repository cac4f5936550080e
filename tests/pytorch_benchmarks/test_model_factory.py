"""Models by their names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from benchmark_core.exits import UnknownModelError, UsageError
from dlbs.config.names import registered_in
from dlbs.packs.definition import find_pack
from pytorch_benchmarks import model_factory
from pytorch_benchmarks.model_factory import ModelFactory, get_model, list_models, load_architecture, register_model
from pytorch_benchmarks.models.model import Model


def test_layers_are_chosen_by_name_or_by_constructor() -> None:
    with torch.device("meta"):
        named = get_model("resnet18", norm="group", activation="silu", num_classes=7)
        passed = get_model("resnet18", norm=torch.nn.InstanceNorm2d)
    assert sum(isinstance(module, torch.nn.GroupNorm) for module in named.modules()) == 21
    assert any(isinstance(module, torch.nn.SiLU) for module in named.modules())
    assert named.num_classes == 7
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in [*named.modules(), *passed.modules()])
    with pytest.raises(TypeError, match="did you mean group"):
        get_model("resnet18", norm="grouop")
    with pytest.raises(TypeError, match="use one of elu, gelu"):
        get_model("resnet18", activation="xyz")


@pytest.mark.parametrize("norm", ["layer", "rms", torch.nn.LayerNorm])
@pytest.mark.parametrize("name", ["resnet18", "inception3", "efficientnet_b0"])
def test_a_norm_of_tokens_is_none_of_images(name: str, norm: object) -> None:
    with torch.device("meta"), pytest.raises(TypeError, match="layer and rms normalise the features of tokens"):
        get_model(name, norm=norm)


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
@pytest.mark.parametrize("name", ["vit_b_16", "gpt2_small", "bert_base"])
def test_a_norm_of_images_is_none_of_tokens(name: str, norm: str) -> None:
    with torch.device("meta"), pytest.raises(TypeError, match="not the features of tokens"):
        get_model(name, norm=norm)


def test_names_and_patterns() -> None:
    assert "resnet18" in list_models("resnet*")
    assert "vgg11" not in list_models("resnet*")
    assert list_models("nope*") == []


def test_an_unknown_model_suggests_the_closest() -> None:
    with pytest.raises(UnknownModelError, match="did you mean resnet50"):
        get_model("resnet5o")


def test_a_provider_that_does_not_import_is_one_line() -> None:
    for provider in ("torchvision", "timm"):
        if importlib.util.find_spec(provider) is None:
            with pytest.raises(UsageError, match=f"needs the package {provider}, which cannot be imported"):
                get_model(f"{provider}:resnet18")
    with pytest.raises(UnknownModelError, match="use one of torchvision, timm, transformers"):
        get_model("torchvison:resnet18")


def test_a_model_of_a_provider_that_cannot_be_built_does_not_blame_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(package: object, name: str, **options: object) -> Model:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setitem(model_factory.PROVIDERS, "json", build)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        get_model("json:model")
    monkeypatch.setitem(model_factory.PROVIDERS, "nowhere", build)
    with pytest.raises(UsageError, match="needs the package nowhere, which cannot be imported"):
        get_model("nowhere:model")


def test_the_factory_of_the_reference() -> None:
    assert ModelFactory.get_model("deep_mnist").title == "DeepMNIST"
    assert sorted(ModelFactory.models.keys()) == list_models()


def test_two_models_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="two models"):
        register_model("deep_mnist")(Model)


FORMER = """
import torch.nn as nn
from pytorch_benchmarks.models.model import Model

class Perceptron(Model):
    implements = ["perceptron_former", "perceptron_older"]

    def __init__(self, params):
        Model.check_parameters(
            params,
            {"name": "Perceptron", "input_shape": (12), "num_classes": 5, "phase": "training", "dtype": "float32"},
        )
        Model.__init__(self, params)
        self.model = nn.Sequential(nn.Linear(self.input_shape[0], 8), nn.ReLU(), nn.Linear(8, self.num_classes))

    def forward(self, x):
        return self.model(x)
"""


def test_a_model_for_the_original_dlbs_is_an_architecture(tmp_path: Path) -> None:
    file = tmp_path / "architecture.py"
    file.write_text(FORMER)
    assert load_architecture(file) == ["perceptron_former", "perceptron_older"]
    assert load_architecture(file) == ["perceptron_former", "perceptron_older"]
    model = ModelFactory.get_model({"model": "perceptron_former", "num_classes": 3, "phase": "inference"})
    assert (model.title, model.input_shape, model.num_classes) == ("Perceptron", (12,), 3)
    assert (model.phase, model.dtype) == ("inference", "float32")
    generator = torch.Generator()
    assert model.loss(model(model.inputs(4, generator)), model.targets(4, generator)).dim() == 0
    assert get_model("perceptron_older").num_classes == 5
    assert ModelFactory.models["perceptron_former"]().title == "Perceptron"
    assert registered_in(file) == {"perceptron_former": "", "perceptron_older": ""}
    assert find_pack(str(tmp_path)).kind == "architecture"


def test_code_for_the_original_dlbs_builds_our_models() -> None:
    model = ModelFactory.get_model({"model": "deep_mnist", "phase": "training", "dtype": "float32", "num_classes": 7})
    assert model.num_classes == 7
    with pytest.raises(UsageError, match="have no key 'model', only phase"):
        ModelFactory.get_model({"phase": "training"})


def test_a_former_model_without_its_parameters_is_told_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="lack input_shape, num_classes, dtype"):
        Model({"name": "x", "phase": "training"})
