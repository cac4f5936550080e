"""The list that a model has to pass."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch_benchmarks import model_factory
from pytorch_benchmarks.checks.expected_outputs import Subject, compare_outputs, describe_outputs
from pytorch_benchmarks.checks.finding import CheckError
from pytorch_benchmarks.checks.model import CHECKS, check_model
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.model_factory import get_model, list_models
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.weights import Weights, write_weights
from pytorch_benchmarks.tensors import map_tensors
from tests.pytorch_benchmarks.models.smaller import SMALLER

# tinyllama_1b needs 5 GB; it is smollm2_135m with other numbers.
NAMES = [name for name in list_models() if name != "tinyllama_1b"]


class OnceCalibrated(Subject):
    """A subject whose model is calibrated once, for all tests of it; whoever changes it puts back what was there."""

    @functools.cached_property
    def model(self) -> Model:
        return super().calibrated()

    def calibrated(self) -> Model:
        return self.model


@pytest.fixture(scope="module", params=NAMES)
def subject(request: pytest.FixtureRequest) -> OnceCalibrated:
    return OnceCalibrated(request.param, SMALLER.get(request.param, {}))


@pytest.mark.integration
def test_expected_output(subject: OnceCalibrated) -> None:
    """What seeded weights give for a seeded batch. `EXPECTTEST_ACCEPT=1 pytest tests/pytorch_benchmarks/checks/test_model.py -k NAME` accepts what it is now."""
    CHECKS["expected output"](subject)


@pytest.mark.integration
def test_an_expected_output_changes_with_the_input_and_with_every_stage(subject: OnceCalibrated) -> None:
    model = subject.calibrated()
    inputs, _ = subject.batch(model)
    layers = RememberedLayers(model)

    def described(inputs: Any = inputs) -> dict[str, Any]:
        with torch.no_grad(), layers:
            return describe_outputs(model(inputs))

    plain = described()
    assert compare_outputs(described(), plain) == ""
    blind = [] if compare_outputs(described(map_tensors(torch.zeros_like, inputs)), plain) else ["the input"]
    for stage, weights in stages(model).items():
        with torch.no_grad(), layers.changed(weights):
            weights.neg_()
            blind += [] if compare_outputs(described(), plain) else [stage]
            weights.neg_()
    count = Subtracted(-1)
    with count:
        described()
    for number in sorted({0, count.additions // 2, count.additions - 1} - {-1}):
        with Subtracted(number):
            blind += [] if count.additions == 0 or compare_outputs(described(), plain) else [f"addition {number}"]
    assert not blind


class RememberedLayers:
    """The layers of a network that multiply by a matrix: one that is given what it was given the first time gives what it gave, without the work.

    A change in the middle of a network is then looked at in half of the time: all before it is as it was.
    """

    def __init__(self, model: Model) -> None:
        self._layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
        self._known: dict[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]] = {layer: [] for layer in self._layers}
        self._calls: Counter[nn.Module] = Counter()
        self._changed: torch.Tensor | None = None

    def __enter__(self) -> None:
        self._calls.clear()
        for layer in self._layers:
            layer.forward = functools.partial(self._forward, layer)

    def __exit__(self, *_: object) -> None:
        for layer in self._layers:
            del layer.forward  # that of its class again

    @contextmanager
    def changed(self, weights: torch.Tensor) -> Iterator[None]:
        """Where the weights of a layer are others than the first time."""
        self._changed = weights
        yield
        self._changed = None

    def _forward(self, layer: nn.Module, given: torch.Tensor) -> torch.Tensor:
        number = self._calls[layer]
        self._calls[layer] += 1
        known = self._known[layer]
        same = number < len(known) and layer.weight is not self._changed and torch.equal(known[number][0], given)
        if same:
            return known[number][1].clone()  # which the next layer may change in place
        result = type(layer).forward(layer, given)
        if number == len(known):
            known.append((given.clone(), result.clone()))
        return result


def stages(model: Model) -> dict[str, torch.Tensor]:
    """The first matrix of weights in each part of a network; of many parts that repeat, eight from the first to the last."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            found.setdefault(".".join(name.split(".")[:3]), parameter)
    every = max(1, -(-len(found) // 8))
    return {name: found[name] for name in [*list(found)[::every], list(found)[-1]]}


class Subtracted(TorchDispatchMode):
    """Turns one of the additions of two signals, as at the end of a residual branch, into a subtraction."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.additions = number, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _ADDITIONS and isinstance(args[1], torch.Tensor) and args[0].shape == args[1].shape:
            self.additions += 1
            if self.additions == self.number + 1:
                func = _ADDITIONS[func]
        return func(*args, **(kwargs or {}))


_ADDITIONS = {
    torch.ops.aten.add.Tensor: torch.ops.aten.sub.Tensor,
    torch.ops.aten.add_.Tensor: torch.ops.aten.sub_.Tensor,
}


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
        CHECKS[check](Subject("broken"))


def test_weights_of_another_model_beside_it_are_not_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLBS_WEIGHTS_DIR", str(tmp_path / "none"))
    (tmp_path / "weights").mkdir()
    for name in ("small", "larger"):
        monkeypatch.setitem(model_factory.BUILDERS, name, broken(classes=len(name)))
        model = get_model(name)
        entry = Weights(name, Path(f"{name}.pt"), transforms=Transforms((3, 8, 8)), metrics={"accuracy_top1": 50.0})
        write_weights(tmp_path / "weights" / f"{name}.json", model.state_dict(), entry)
    for name in ("small", "larger"):
        assert CHECKS["weights"](Subject(name, home=tmp_path)) == f"{name}: 50.00 %"


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
    subject = Subject("net", home=tmp_path)
    if "net" in models:
        assert CHECKS["recipe"](subject) == str(tmp_path / "recipe.yaml")
    else:
        with pytest.raises(CheckError, match=rf"trains {', '.join(models)} \(exp.model\)"):
            CHECKS["recipe"](subject)


def test_each_outcome_is_known_before_the_next_check_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    for name in list(CHECKS):
        monkeypatch.setitem(CHECKS, name, lambda _, name=name: begun.append(name) or "fine")
    outcomes = check_model(Subject("deep_mnist"))
    assert next(outcomes) == ("exported", "ok", "fine")
    assert begun == ["exported"]
    assert len(list(outcomes)) == len(CHECKS) - 1
