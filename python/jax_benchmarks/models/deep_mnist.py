"""Deep MNIST: a multilayer perceptron for handwritten digits (Cireşan et al., Neural Computation 22(12), 2010)."""

from __future__ import annotations

import itertools
from typing import Any

import jax

from jax_benchmarks.models.model import Arrays, Model, linear


def build(*, num_classes: int = 10) -> Model:
    """Six fully connected layers."""
    sizes = [784, 2500, 2000, 1500, 1000, 500, num_classes]
    layers = [f"model.{2 * number}" for number in range(len(sizes) - 1)]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in zip(layers, itertools.pairwise(sizes), strict=True):
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def apply(parameters: Arrays, buffers: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
        for name in layers[:-1]:
            x = jax.nn.relu(linear(parameters, name, x))
        return linear(parameters, layers[-1], x), buffers

    return Model("DeepMNIST", "images", (784,), num_classes, shapes, apply)
