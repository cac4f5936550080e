"""Every model, built once for all tests of it: its expected output, how sensitive that is, training and scripting."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import torch

from pytorch_benchmarks.checks import CHECKS, CheckedModel, calibrate, compare_outputs, describe_outputs
from pytorch_benchmarks.devices import map_tensors
from pytorch_benchmarks.model_factory import list_models
from pytorch_benchmarks.models.layers import DropPath
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.phases import training_step
from tests.pytorch_benchmarks.changes import RememberedLayers, Subtracted, stages
from tests.pytorch_benchmarks.models.smaller import ONE_SIZE, SIDE, SIDES, SMALLER

pytestmark = pytest.mark.integration

# tinyllama_1b needs 5 GB, and 13 GB to be trained; it is smollm2_135m with other numbers.
NAMES = [name for name in list_models() if name != "tinyllama_1b"]

# They differ from others of their family, smaller and larger ones, in the number of equal layers only.
BETWEEN = ["resnet34", "resnet101", "resnet152", "resnet200", "vgg13", "vgg16"]
SCRIPTED = ["bert_base", "convnext_tiny", "dlrm_small", "resnet18", "smollm2_135m", "unet", "vit_b_16"]

# Each list begins with the one before it: by the places in these lists pytest groups the tests of a model.
VARIED = [*SCRIPTED, *(name for name in NAMES if name not in {*SCRIPTED, *BETWEEN})]
ALL = [*VARIED, *BETWEEN]


def each(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("candidate", names, indirect=True, scope="module")


class Built:
    """A model whose weights are drawn once, which for a large one takes as long as several passes, and copied afterwards."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self._subject = CheckedModel(name, options)
        self._model = self._subject.seeded()
        self._initial = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._calibrated = False

    def initial(self) -> Model:
        """The model with its initial weights."""
        self._model.zero_grad(set_to_none=True)
        self._model.load_state_dict(self._initial)
        self._calibrated = False
        return self._model

    def calibrated(self) -> Model:
        """The model with calibrated weights; whoever changes these restores them."""
        if not self._calibrated:
            calibrate(self.initial(), self._subject.batch(self._model)[0])
            self._calibrated = True
        return self._model.eval()


@functools.lru_cache(maxsize=1)  # the tests of a model follow each other
def built(name: str, options: str) -> Built:
    return Built(name, json.loads(options))


class Shared(CheckedModel):
    """A candidate whose model all tests of it share."""

    def seeded(self) -> Model:
        return built(self.name, json.dumps(self.options)).initial()

    def calibrated(self) -> Model:
        return built(self.name, json.dumps(self.options)).calibrated()

    def small_batch(self, model: Model) -> tuple[Any, Any]:
        """The batch of the expected output, with smaller images, or with one instance where layers fit one size only."""
        inputs, targets = self.batch(model)
        if self.name in ONE_SIZE:  # those without batch normalization, which needs more than one image
            return inputs[:1], targets[:1]
        if len(model.input_shape) == 3:
            side = SIDES.get(self.name, SIDE)
            return torch.nn.functional.interpolate(inputs, size=(side, side)), targets
        return inputs, targets


@pytest.fixture(scope="module")
def candidate(request: pytest.FixtureRequest) -> Shared:
    return Shared(request.param, SMALLER.get(request.param, {}))


@each(ALL)
def test_expected_output(candidate: Shared) -> None:
    """What seeded weights give for a seeded batch. `EXPECTTEST_ACCEPT=1 pytest tests/pytorch_benchmarks/test_every_model.py -k NAME` accepts what it is now."""
    CHECKS["expected output"](candidate)


@each(VARIED)
def test_an_expected_output_changes_with_the_input_and_with_every_stage(candidate: Shared) -> None:
    """In the weights with which it is made."""
    model = candidate.calibrated()
    inputs, _ = candidate.small_batch(model)
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


@each(VARIED)
def test_the_loss_falls_on_a_fixed_batch(candidate: Shared) -> None:
    model = without_noise(candidate.seeded())
    inputs, targets = candidate.small_batch(model)
    step = training_step(model, model)
    first = float(step((inputs, targets)))
    for _ in range(
        5
    ):  # very deep networks need some: the loss of inception4 rises with the first one on some types of CPUs
        with torch.no_grad():
            if float(model.loss(model(inputs), targets)) < first:
                return
        step((inputs, targets))
    pytest.fail("the loss does not fall in five steps")


def without_noise(model: Model) -> Model:
    """Leave nothing out by chance: it would hide the trend of a few steps."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.probability = 0.0
    return model


@each(SCRIPTED)
def test_scripted_models_give_what_they_give_otherwise(candidate: Shared) -> None:
    assert CHECKS["script"](candidate) == "the same output"
