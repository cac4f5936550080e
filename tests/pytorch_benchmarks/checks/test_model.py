"""The list that a model has to pass."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from pytorch_benchmarks import model_factory
from pytorch_benchmarks.checks.expected_outputs import Subject
from pytorch_benchmarks.checks.finding import CheckError
from pytorch_benchmarks.checks.model import CHECKS, check_model
from pytorch_benchmarks.model_factory import list_models
from pytorch_benchmarks.models.model import Model
from tests.pytorch_benchmarks.models.smaller import SMALLER


# tinyllama_1b needs 5 GB; it is smollm2_135m with other numbers.
@pytest.mark.integration
@pytest.mark.parametrize("name", [name for name in list_models() if name != "tinyllama_1b"])
def test_expected_output(name: str) -> None:
    """What seeded weights give for a seeded batch. `EXPECTTEST_ACCEPT=1 pytest tests/pytorch_benchmarks/checks/test_model.py -k NAME` accepts what it is now."""
    CHECKS["expected output"](Subject(name, SMALLER.get(name, {})))


@pytest.mark.integration
@pytest.mark.parametrize(
    "name", ["bert_base", "convnext_tiny", "dlrm_small", "resnet18", "smollm2_135m", "unet", "vit_b_16"]
)
def test_scripted_models_give_what_they_give_otherwise(name: str) -> None:
    assert CHECKS["script"](Subject(name, SMALLER.get(name, {}))) == "the same output"


@pytest.mark.integration
@pytest.mark.parametrize("name", ["deep_mnist", "sensor_net"])
def test_our_models_pass_the_list_for_new_ones(name: str) -> None:
    found = {title: status for title, status, _ in check_model(Subject(name, SMALLER.get(name, {})))}
    assert set(found) == set(CHECKS)
    assert "failed" not in found.values()


@pytest.mark.parametrize("name", list_models())
def test_every_model_is_exported_described_and_has_options_by_name(name: str) -> None:
    for check in ("exported", "described", "documented", "options"):
        CHECKS[check](Subject(name, SMALLER.get(name, {})))


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
    norms, activations = re.findall(r"of (\d+) of (\d+) layers", CHECKS["layers"](Subject(name)))
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
            self.layer = torch.nn.Linear(4, 3)
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
        ("layers", {}, "the option activation is taken, but none of the 1 layers"),
        ("documented", {}, "docs/models.md does not speak of it"),
        ("autocast", {"factor": float("nan")}, "under autocast the loss is nan"),
        ("expected output", {}, "EXPECTTEST_ACCEPT=1"),
    ],
)
def test_the_list_finds_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, check: str, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setitem(model_factory.BUILDERS, "broken", broken(**changes))
    with pytest.raises(CheckError, match=said):
        CHECKS[check](Subject("broken"))
