"""What a model with seeded weights gives for a seeded batch, kept with the tests, so that a change of it is noticed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.tensors import map_tensors

__all__ = ["ROOT", "SEED", "Subject", "compare_outputs", "expected_output"]

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

    def batch(self, model: Model) -> tuple[Any, Any]:
        """Seeded inputs and targets, two instances."""
        generator = torch.Generator().manual_seed(SEED)
        batch = (model.inputs(2, generator), model.targets(2, generator))
        return map_tensors(lambda tensor: tensor.to(self.device), batch)


def expected_output(subject: Subject) -> dict[str, Any]:
    """What a model with seeded weights gives for a seeded batch of two: shape, mean, deviation and first values of each output."""
    model = subject.seeded().eval()
    with torch.no_grad():
        outputs = model(subject.batch(model)[0])
    leaves = [leaf.float().cpu() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return {
        "options": dict(subject.options),
        "shapes": [list(leaf.shape) for leaf in leaves],
        "means": [float(leaf.mean()) for leaf in leaves],
        "deviations": [float(leaf.std()) for leaf in leaves],
        "first": [leaf.flatten()[:5].tolist() for leaf in leaves],
    }


def compare_outputs(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What differs between two outputs, in words; empty if they agree to three digits."""
    if found["shapes"] != expected["shapes"]:
        return f"the shapes are {found['shapes']} instead of {expected['shapes']}"
    scale = max(map(abs, expected["deviations"]))
    for key in ("means", "deviations", "first"):
        for one, other in zip(_flat(found[key]), _flat(expected[key]), strict=True):
            if not math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-3 * scale):
                return f"{key} differ: {one:.6g} instead of {other:.6g}"
    return ""


def _flat(values: Any) -> list[float]:
    return [number for value in values for number in (value if isinstance(value, list) else [value])]
