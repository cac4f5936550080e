"""What a model with seeded weights gives for a seeded batch, kept with the tests, so that a change of it is noticed.

Weights as they are drawn at first would not do: in many networks the signal fades from layer to layer until the output is that of the
last biases alone, whatever the input is and whatever lies between. So the weights are calibrated: every layer gives a signal of one size
(after Mishkin and Matas, All you need is a good init, arXiv:1511.06422), and a change of any part is a change of the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.tensors import map_tensors

__all__ = ["ROOT", "SEED", "Subject", "calibrate", "compare_outputs", "describe_outputs", "expected_output"]

SEED = 1234
ROOT = Path(__file__).resolve().parents[3]  # of the checkout, or of what was installed


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is checked, and where what belongs to it is kept.

    Attributes:
        name: Under which it is registered.
        options: Of its builder.
        home: Directory of the file that registers it, if it is one of its own; None for those of pytorch_benchmarks.
        device: Where it is looked at.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    home: Path | None = None
    device: str = "cpu"

    @property
    def expected(self) -> Path:
        """Its expected output."""
        return (self.home / "expected" if self.home else ROOT / "tests" / "expected") / f"{self.name}.json"

    @property
    def recipe(self) -> Path:
        """The configuration that trains it."""
        return self.home / "recipe.yaml" if self.home else ROOT / "config" / "recipes" / f"{self.name}.yaml"

    @property
    def page(self) -> Path:
        """The page that speaks of it."""
        return self.home / "README.md" if self.home else ROOT / "docs" / "models.md"

    def seeded(self) -> Model:
        """The model with seeded weights, which are the same for every device."""
        torch.manual_seed(SEED)
        return get_model(self.name, **self.options).to(self.device)

    def calibrated(self) -> Model:
        """The model with seeded weights of which every part shows in the output; calibrated on a CPU, so that they are the same for every device."""
        on_cpu = replace(self, device="cpu")
        model = on_cpu.seeded()
        calibrate(model, on_cpu.batch(model)[0])
        return model.to(self.device).eval()

    def batch(self, model: Model) -> tuple[Any, Any]:
        """Seeded inputs and targets, two instances."""
        generator = torch.Generator().manual_seed(SEED)
        batch = (model.inputs(2, generator), model.targets(2, generator))
        return map_tensors(lambda tensor: tensor.to(self.device), batch)


def calibrate(model: nn.Module, inputs: Any) -> None:
    """Change the weights of a network so that each of its parts has a share in the output.

    Embeddings and layers that multiply by a matrix give outputs of standard deviation 1, batch normalisation has the statistics of this batch, and what
    has one number for each channel (biases, scales of normalisation and of residual branches) is moved away from 0 and 1.

    Args:
        model: In training or evaluation mode; afterwards it is in evaluation mode.
        inputs: A batch that it is given.
    """
    generator = torch.Generator().manual_seed(SEED)
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() == max(parameter.shape, default=0):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    normalisations = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in normalisations]
    for module in normalisations:
        module.train()
        module.momentum = 1.0
    layers = [module for module in model.modules() if isinstance(module, _MATRIX_LAYERS)]
    normalise = _normaliser()
    hooks = [layer.register_forward_hook(normalise) for layer in layers]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, momentum in zip(normalisations, momenta, strict=True):
            module.momentum = momentum
        model.eval()


_MATRIX_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag)
_FADED = 1e-12  # a standard deviation that is none


def _normaliser() -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that scales each layer once so that its output has standard deviation 1; layers may share their weights."""
    scaled: set[int] = set()

    def normalise(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        size, parameters = float(output.std()), list(layer.parameters(recurse=False))
        if not size > _FADED or any(id(parameter) in scaled for parameter in parameters):  # nor NaN, as of one number
            return output
        for parameter in parameters:
            parameter.div_(size)
            scaled.add(id(parameter))
        return output / size

    return normalise


def expected_output(subject: Subject) -> dict[str, Any]:
    """What a model with seeded and calibrated weights gives for a seeded batch of two."""
    model = subject.calibrated()
    with torch.no_grad():
        outputs = model(subject.batch(model)[0])
    return {"options": dict(subject.options), **describe_outputs(outputs)}


def describe_outputs(outputs: Any) -> dict[str, Any]:
    """Shape, mean, standard deviation and some values of each output, from its first to its last."""
    leaves = [leaf.float().cpu() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return {
        "shapes": [list(leaf.shape) for leaf in leaves],
        "means": [float(leaf.mean()) for leaf in leaves],
        "deviations": [float(leaf.std()) for leaf in leaves],
        "values": [_spread(leaf.flatten()).tolist() for leaf in leaves],
    }


def _spread(values: Tensor) -> Tensor:
    """Ten of many values, evenly spread: the first ones of a text, say, do not depend on what follows."""
    places = torch.linspace(0, len(values) - 1, min(10, len(values))).round().long()
    return values[places]


def compare_outputs(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What differs between two outputs, in words; empty if they agree to three digits."""
    if found["shapes"] != expected["shapes"]:
        return f"the shapes are {found['shapes']} instead of {expected['shapes']}"
    scale = max(map(abs, expected["deviations"]))
    for key in ("means", "deviations", "values"):
        for one, other in zip(_flat(found[key]), _flat(expected[key]), strict=True):
            if not math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-3 * scale):
                return f"{key} differ: {one:.6g} instead of {other:.6g}"
    return ""


def _flat(values: Any) -> list[float]:
    return [number for value in values for number in (value if isinstance(value, list) else [value])]
