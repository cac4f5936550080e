"""Outputs of a model with seeded weights for a seeded batch, stored with the tests so that changes are noticed.

Freshly initialised weights are unsuitable: in many networks the signal fades from layer to layer until the output consists of the last
biases, whatever the input and the layers between. So the weights are calibrated: every layer outputs a signal of the same size
(after Mishkin and Matas, All you need is a good init, arXiv:1511.06422), and a change of any part changes the output.
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
ROOT = Path(__file__).resolve().parents[3]  # of the checkout or of the installation


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to check, and the places of its files.

    Attributes:
        name: Registered name.
        options: Options of its builder.
        home: Directory of the file that registers it, for an external model; None for models of pytorch_benchmarks.
        device: Device to check it on.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    home: Path | None = None
    device: str = "cpu"

    @property
    def expected(self) -> Path:
        """File of its expected output."""
        return (self.home / "expected" if self.home else ROOT / "tests" / "expected") / f"{self.name}.json"

    @property
    def recipe(self) -> Path:
        """Path of the configuration that trains it."""
        return self.home / "recipe.yaml" if self.home else ROOT / "config" / "recipes" / f"{self.name}.yaml"

    @property
    def page(self) -> Path:
        """Path of the page that documents it."""
        return self.home / "README.md" if self.home else ROOT / "docs" / "models.md"

    def seeded(self) -> Model:
        """The model with seeded weights, identical on every device."""
        torch.manual_seed(SEED)
        return get_model(self.name, **self.options).to(self.device)

    def calibrated(self) -> Model:
        """The model with seeded weights, calibrated so that every part affects the output; on a CPU, so identical on every device."""
        on_cpu = replace(self, device="cpu")
        model = on_cpu.seeded()
        calibrate(model, on_cpu.batch(model)[0])
        return model.to(self.device).eval()

    def batch(self, model: Model) -> tuple[Any, Any]:
        """Two seeded instances: inputs and targets."""
        generator = torch.Generator().manual_seed(SEED)
        batch = (model.inputs(2, generator), model.targets(2, generator))
        return map_tensors(lambda tensor: tensor.to(self.device), batch)


def calibrate(model: nn.Module, inputs: Any) -> None:
    """Change the weights of a network so that each of its parts affects the output.

    Embeddings and matrix layers get outputs of standard deviation 1, batch normalisation gets the statistics of this batch, and parameters
    with one number per channel (biases, scales of normalisation and of residual branches) are moved away from 0 and 1.

    Args:
        model: In training or evaluation mode; left in evaluation mode.
        inputs: A batch of its inputs.
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
_FADED = 1e-12  # a standard deviation that counts as zero


def _normaliser() -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that scales each layer once to an output of standard deviation 1; layers may share weights."""
    scaled: set[int] = set()

    def normalise(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        size, parameters = float(output.std()), list(layer.parameters(recurse=False))
        if not size > _FADED or any(id(parameter) in scaled for parameter in parameters):  # or NaN
            return output
        for parameter in parameters:
            parameter.div_(size)
            scaled.add(id(parameter))
        return output / size

    return normalise


def expected_output(subject: Subject) -> dict[str, Any]:
    """The output of a model with seeded and calibrated weights for a seeded batch of two."""
    model = subject.calibrated()
    with torch.no_grad():
        outputs = model(subject.batch(model)[0])
    return {"options": dict(subject.options), **describe_outputs(outputs)}


def describe_outputs(outputs: Any) -> dict[str, Any]:
    """Shape, mean, standard deviation and some values of each output."""
    leaves = [leaf.float().cpu() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return {
        "shapes": [list(leaf.shape) for leaf in leaves],
        "means": [float(leaf.mean()) for leaf in leaves],
        "deviations": [float(leaf.std()) for leaf in leaves],
        "values": [_spread(leaf.flatten()).tolist() for leaf in leaves],
    }


def _spread(values: Tensor) -> Tensor:
    """Ten evenly spaced values: the first values of a text, say, do not depend on what follows."""
    places = torch.linspace(0, len(values) - 1, min(10, len(values))).round().long()
    return values[places]


_TOLERANCE = 1e-3


def compare_outputs(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The difference between two outputs as text; empty if they agree to three digits.

    Very deep networks amplify the rounding of their first layers, which differs between types of CPUs: resnet269 by 0.007 of the outputs'
    standard deviation. The key `tolerance` of what is expected allows more.
    """
    tolerance = float(expected.get("tolerance", _TOLERANCE))
    if found["shapes"] != expected["shapes"]:
        return f"the shapes are {found['shapes']} instead of {expected['shapes']}"
    scale = max(map(abs, expected["deviations"]))
    for key in ("means", "deviations", "values"):
        for one, other in zip(_flat(found[key]), _flat(expected[key]), strict=True):
            if not math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance * scale):
                return f"{key} differ: {one:.6g} instead of {other:.6g}"
    return ""


def _flat(values: Any) -> list[float]:
    return [number for value in values for number in (value if isinstance(value, list) else [value])]
