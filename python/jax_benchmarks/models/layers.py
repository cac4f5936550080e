"""Layers as functions of arrays named and shaped as in PyTorch's layers of the same name. Images are channels-last."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_benchmarks.models.model import Arrays

__all__ = ["batch_norm", "convolution", "layer_norm", "linear"]

_MOMENTUM, _EPSILON = 0.1, 1e-5  # PyTorch's defaults


def linear(parameters: Arrays, name: str, x: Any) -> Any:
    """x W^T + b."""
    return x @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]


def convolution(parameters: Arrays, name: str, x: Any, stride: int = 1) -> Any:
    """Without bias, padded so that stride 1 keeps the size; images (batch, height, width, channels)."""
    weight = parameters[f"{name}.weight"]
    padding = [(size // 2, size // 2) for size in weight.shape[2:]]
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "OIHW", "NHWC")
    )


def batch_norm(parameters: Arrays, buffers: Arrays, new: Arrays, name: str, x: Any, *, training: bool) -> Any:
    """Normalise channels, with batch statistics in training and running statistics otherwise.

    Args:
        parameters, buffers: Of the whole model.
        new: Receives the updated running statistics in training.
        name: Of the layer.
        x: (batch, height, width, channels)
        training: Selects the statistics.
    """
    wide = x.astype(jnp.float32)
    mean, variance = buffers[f"{name}.running_mean"], buffers[f"{name}.running_var"]
    if training:
        seen_mean, seen_variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
        count = x.size // x.shape[-1]
        unbiased = seen_variance * (count / max(1, count - 1))
        for key, old, seen in (("running_mean", mean, seen_mean), ("running_var", variance, unbiased)):
            new[f"{name}.{key}"] = ((1 - _MOMENTUM) * old + _MOMENTUM * seen).astype(old.dtype)
        mean, variance = seen_mean, seen_variance
    scale = parameters[f"{name}.weight"] * jax.lax.rsqrt(variance.astype(jnp.float32) + _EPSILON)
    return ((wide - mean) * scale + parameters[f"{name}.bias"]).astype(x.dtype)


def layer_norm(parameters: Arrays, name: str, x: Any) -> Any:
    """Normalise the features of each token."""
    wide = x.astype(jnp.float32)
    normal = (wide - wide.mean(-1, keepdims=True)) * jax.lax.rsqrt(wide.var(-1, keepdims=True) + _EPSILON)
    return (normal * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]).astype(x.dtype)
