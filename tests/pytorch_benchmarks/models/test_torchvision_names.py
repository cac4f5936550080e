"""The names and signatures that contributors know from torchvision 0.29: equal where somebody would type them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmark_core.exits import UsageError
from pytorch_benchmarks import model_factory, models
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.model_factory import (
    get_model,
    get_model_builder,
    get_model_weights,
    get_weight,
    list_models,
    register_model,
)
from pytorch_benchmarks.models import resnet
from pytorch_benchmarks.models.model import BUILDERS
from pytorch_benchmarks.weights import Weights, write_weights

# Parameters that a call there may name, and which ours has by the same name; `config` of get_model is its options.
SIGNATURES: list[tuple[Callable[..., Any], tuple[str, ...]]] = [
    (register_model, ("name",)),
    (list_models, ("module", "include", "exclude")),
    (get_model, ("name", "weights", "progress", "options")),
    (get_model_builder, ("name",)),
    (get_model_weights, ("name",)),
    (get_weight, ("name",)),
]


@pytest.mark.parametrize(("function", "parameters"), SIGNATURES, ids=lambda value: getattr(value, "__name__", ""))
def test_parameters_are_called_as_there(function: Callable[..., Any], parameters: tuple[str, ...]) -> None:
    assert function.__name__ in model_factory.__all__
    assert set(inspect.signature(function).parameters) == set(parameters)


def test_a_builder_is_registered_under_its_own_name() -> None:
    try:

        @register_model()
        def a_net_of_mine(**options: Any) -> Any:
            return nn.Identity()

        assert get_model_builder("a_net_of_mine") is a_net_of_mine
        with pytest.raises(ValueError, match="two models are named 'a_net_of_mine'"):
            register_model("a_net_of_mine")(a_net_of_mine)
    finally:
        BUILDERS.pop("a_net_of_mine", None)


def test_models_are_listed_by_module_and_patterns() -> None:
    assert list_models(include="resnet1*") == list_models("resnet1*") == ["resnet101", "resnet152", "resnet18"]
    assert list_models(include=["vgg1[13]", "vgg16"], exclude="*6") == ["vgg11", "vgg13"]
    assert list_models(exclude=["*"]) == list_models(include=[]) == []
    assert set(list_models(module=resnet)) == set(list_models("resnet*"))
    assert list_models(module=models) == list_models(module=models, include="*")
    assert "vgg16" not in list_models(module=resnet)


def test_layers_may_be_called_as_there() -> None:
    with torch.device("meta"):
        model = get_model("resnet18", norm_layer=nn.InstanceNorm2d, progress=False, num_classes=5)
        assert any(isinstance(one, nn.InstanceNorm2d) for one in model.modules())
        assert not any(isinstance(one, nn.BatchNorm2d) for one in model.modules())
        model = get_model("resnet18", activation_layer="relu6", weights=None)
    assert sum(isinstance(one, nn.ReLU6) for one in model.modules()) == 17


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Weights]:
    """Two sets of weights of a small model in one directory."""
    directory = tmp_path_factory.mktemp("weights")
    made = {}
    for name, accuracy in (("early", 51.0), ("late", 63.5)):
        torch.manual_seed(int(accuracy))
        tensors = get_model("text_cnn").state_dict()
        entry = Weights(
            "text_cnn",
            directory / f"{name}.pt",
            categories=("a", "b"),
            metrics={"accuracy_top1": accuracy, "parameters": 5_990_402.0},
            transforms=Transforms((3, 8, 8)) if name == "late" else None,
        )
        made[name] = write_weights(directory / f"{name}.json", tensors, entry)
    return made


@pytest.fixture
def trained(written: dict[str, Weights], monkeypatch: pytest.MonkeyPatch) -> dict[str, Weights]:
    """The same weights, where weights are known by name."""
    monkeypatch.setenv("DLBS_WEIGHTS_DIR", str(Path(written["late"].file).parent))
    return written


def test_weights_are_an_enum_whose_default_is_the_best(trained: dict[str, Weights]) -> None:
    known = get_model_weights("text_cnn")
    assert list(known.__members__) == ["early", "late", "DEFAULT"]
    assert known["DEFAULT"] is known["late"]
    assert get_weight("text_cnn_weights.DEFAULT").value == get_weight("text_cnn_weights.late").value
    assert known["late"].value == trained["late"]
    assert list(get_model_weights(get_model_builder("text_cnn")).__members__) == list(known.__members__)
    assert known["late"].meta == {
        "categories": ["a", "b"], "_metrics": {"accuracy_top1": 63.5, "parameters": 5_990_402.0}, "training": {}, "num_params": 5_990_402,
    }  # fmt: skip
    assert known["late"].transforms() == Transforms((3, 8, 8))
    assert known["late"].url.endswith("/late.pt")
    with pytest.raises(UsageError, match="weights early do not specify their preprocessing"):
        known["early"].transforms()
    assert list(get_model_weights("resnet18").__members__) == []


@pytest.mark.parametrize("given", ["DEFAULT", "late", "member", "entry"])
def test_a_model_takes_weights_in_every_form(trained: dict[str, Weights], given: str) -> None:
    member = get_weight("text_cnn_weights.late")
    weights = {"member": member, "entry": trained["late"]}.get(given, given)
    model = get_model("text_cnn", weights=weights)  # type: ignore[arg-type]
    for name, tensor in member.get_state_dict(progress=True, check_hash=True).items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_weights_that_are_not_there_say_so(trained: dict[str, Weights]) -> None:
    with pytest.raises(UsageError, match=r"unknown weights 'text_cnn_weights.lat'.*text_cnn_weights.early"):
        get_weight("text_cnn_weights.lat")
    with pytest.raises(UsageError, match="weights of that model are none"):
        get_weight("nothing")
    with pytest.raises(UsageError, match=r"there are no weights of resnet18 in .*train.py writes them"):
        get_model("resnet18", weights="DEFAULT")
    with pytest.raises(UsageError, match="these weights are for text_cnn, not resnet18"):
        get_model("resnet18", weights=get_weight("text_cnn_weights.late"))


def test_entries_stay_files_that_anybody_can_read(trained: dict[str, Weights]) -> None:
    file = Path(trained["late"].file).with_suffix(".json")
    assert json.loads(file.read_text())["model"] == "text_cnn"
