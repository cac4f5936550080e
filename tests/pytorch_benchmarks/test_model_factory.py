"""Models by their names."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from pytorch_benchmarks.errors import UnknownModelError, UsageError
from pytorch_benchmarks.model_factory import ModelFactory, get_model, list_models, register_model
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
    with pytest.raises(TypeError, match="there are elu, gelu"):
        get_model("resnet18", activation="xyz")


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
            with pytest.raises(UsageError, match=f"needs the package {provider}, which does not import here"):
                get_model(f"{provider}:resnet18")
    with pytest.raises(UnknownModelError, match="there are torchvision, timm, transformers"):
        get_model("torchvison:resnet18")


def test_the_factory_of_the_reference() -> None:
    assert ModelFactory.get_model("deep_mnist").title == "DeepMNIST"
    assert ModelFactory.models() == list_models()


def test_two_models_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="two models"):
        register_model("deep_mnist")(Model)
