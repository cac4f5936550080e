"""The checks of a model: which of ours pass them, and what they find in one that is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pytorch_benchmarks import model_factory
from pytorch_benchmarks.checks import CHECKS, CheckedModel, CheckError, run_checks
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.model_factory import get_model, list_models
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.weights import Weights, write_weights
from tests.pytorch_benchmarks.models.smaller import SMALLER


@pytest.mark.integration
@pytest.mark.parametrize("name", ["deep_mnist", "sensor_net"])
def test_our_models_pass_the_list_for_new_ones(name: str) -> None:
    found = run_checks(CHECKS, CheckedModel(name, SMALLER.get(name, {})))
    assert set(found) == set(CHECKS)
    assert "failed" not in found.values()


@pytest.mark.parametrize("name", list_models())
def test_every_model_is_exported_described_and_has_options_by_name(name: str) -> None:
    for check in ("exported", "described", "documented", "options"):
        CHECKS[check](CheckedModel(name, SMALLER.get(name, {})))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "inception3",
        "inception4",
        "efficientnet_b0",
        "mobilenet_v3_large",
        "vit_b_16",
        "gpt2_small",
        "bert_base",
    ],
)
def test_constructors_of_layers_reach_every_layer(name: str) -> None:
    norms, activations = re.findall(r"of (\d+) of (\d+) layers", CHECKS["layers"](CheckedModel(name)))
    assert norms[0] == norms[1]
    if name != "mobilenet_v3_large":  # its first blocks keep ReLU
        assert activations[0] == activations[1]


def broken(**changes: Any) -> type[Model]:
    """A registered model that is not as it should be."""

    class Broken(Model):
        """Broken on purpose (2026)."""

        title = "Broken"
        input_shape = (4,)
        num_classes = 3

        def __init__(self, *, activation: Any = torch.nn.ReLU) -> None:
            super().__init__()
            self.activation = torch.nn.ReLU()  # whatever was asked for
            self.layer = torch.nn.Linear(4, changes.get("classes", 3))
            self.unused = torch.nn.Linear(1, 1) if "unused" in changes else None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * changes.get("factor", 1.0) + changes.get("noise", 0.0) * torch.rand(1)

    return Broken


@pytest.mark.parametrize(
    ("check", "changes", "said"),
    [
        ("exported", {}, "is not in __all__"),
        ("backward", {"unused": True}, "no gradient reaches unused.weight"),
        ("forward", {"factor": float("inf")}, "the loss is"),
        ("layers", {}, "the option activation is accepted, but none of the 1 layers"),
        ("documented", {}, "docs/models.md does not mention the model"),
        ("autocast", {"factor": float("nan")}, "under autocast the loss is nan"),
        ("expected output", {}, "EXPECTTEST_ACCEPT=1"),
    ],
)
def test_the_list_finds_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, check: str, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setitem(model_factory.BUILDERS, "broken", broken(**changes))
    with pytest.raises(CheckError, match=said):
        CHECKS[check](CheckedModel("broken"))


def test_weights_of_another_model_beside_it_are_not_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLBS_WEIGHTS_DIR", str(tmp_path / "none"))
    (tmp_path / "weights").mkdir()
    for name in ("small", "larger"):
        monkeypatch.setitem(model_factory.BUILDERS, name, broken(classes=len(name)))
        model = get_model(name)
        entry = Weights(name, Path(f"{name}.pt"), transforms=Transforms((3, 8, 8)), metrics={"accuracy_top1": 50.0})
        write_weights(tmp_path / "weights" / f"{name}.json", model.state_dict(), entry)
    for name in ("small", "larger"):
        assert CHECKS["weights"](CheckedModel(name, home=tmp_path)) == f"{name}: 50.00 %"


@pytest.mark.parametrize(
    ("recipe", "models"),
    [
        ("parameters:\n  exp.model: net\n", ["net"]),
        ("parameters:\n  exp.model: net_large  # not net\n", ["net_large"]),
        ("# trains net\nparameters:\n  exp.model: 'other'\n  train.name: net\n", ["other"]),
        ("variables:\n  exp.model: [net, other]\n", ["net", "other"]),
        (
            "variables:\n  'exp.model':\n    - net\n    - timm:vit  # the second\n  train.lr: [net]\n",
            ["net", "timm:vit"],
        ),
    ],
)
def test_a_recipe_is_for_the_models_that_it_names(tmp_path: Path, recipe: str, models: list[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe)
    candidate = CheckedModel("net", home=tmp_path)
    if "net" in models:
        assert CHECKS["recipe"](candidate) == str(tmp_path / "recipe.yaml")
    else:
        with pytest.raises(CheckError, match=rf"trains {', '.join(models)} \(exp.model\)"):
            CHECKS["recipe"](candidate)


def test_outcomes_are_printed_as_soon_as_they_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    printed: list[str] = []

    def second(_: object) -> str:
        printed.append(capsys.readouterr().out)
        raise CheckError("wrong")

    assert run_checks({"first": lambda _: "fine", "second": second}, None) == {"first": "ok", "second": "failed"}
    assert json.loads(printed[0]) == {"check": "first", "status": "ok", "message": "fine"}
