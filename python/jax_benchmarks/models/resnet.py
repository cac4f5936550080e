"""ResNet with 18 layers (He et al., arXiv:1512.03385, table 1), as in pytorch_benchmarks: each stage begins with a projection."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_benchmarks.models.model import Arrays, Model, batch_norm, convolution, linear

_STAGES = (64, 128, 256, 512)  # channels; two blocks each


def build(*, num_classes: int = 1000) -> Model:
    """Four stages of two residual blocks of two convolutions."""
    shapes: dict[str, tuple[int, ...]] = {}
    buffers: dict[str, tuple[int, ...]] = {}

    def declare(convolution_name: str, norm: str, shape: tuple[int, ...]) -> None:
        shapes.update({f"{convolution_name}.weight": shape, f"{norm}.weight": shape[:1], f"{norm}.bias": shape[:1]})
        buffers.update({f"{norm}.running_mean": shape[:1], f"{norm}.running_var": shape[:1]})

    declare("features.0", "features.1", (64, 3, 7, 7))
    blocks: list[tuple[str, int, bool]] = []  # name, stride, whether the shortcut is a projection
    channels = 64
    for stage, width in enumerate(_STAGES):
        for first in (True, False):
            name = f"features.{4 + len(blocks)}"
            declare(f"{name}.branch.0", f"{name}.branch.1", (width, channels, 3, 3))
            declare(f"{name}.branch.3", f"{name}.branch.4", (width, width, 3, 3))
            if first:
                declare(f"{name}.shortcut.0", f"{name}.shortcut.1", (width, channels, 1, 1))
            blocks.append((name, 2 if first and stage else 1, first))
            channels = width
    shapes |= {"classifier.2.weight": (num_classes, channels), "classifier.2.bias": (num_classes,)}

    def apply(parameters: Arrays, buffers: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
        new: Arrays = {}

        def both(x: Any, name: str, norm: str, stride: int = 1) -> Any:
            return batch_norm(
                parameters, buffers, new, norm, convolution(parameters, name, x, stride), training=training
            )

        x = jax.nn.relu(both(x, "features.0", "features.1", 2))
        x = jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
        )
        for name, stride, projects in blocks:
            shortcut = both(x, f"{name}.shortcut.0", f"{name}.shortcut.1", stride) if projects else x
            inside = jax.nn.relu(both(x, f"{name}.branch.0", f"{name}.branch.1", stride))
            x = jax.nn.relu(both(inside, f"{name}.branch.3", f"{name}.branch.4") + shortcut)
        return linear(parameters, "classifier.2", x.mean((1, 2))), new if training else buffers

    return Model("ResNet18", "images", (224, 224, 3), num_classes, shapes, apply, buffers)
