"""The base class of all models.

A model is what has a name and is measured or trained. An architecture is a Python file that registers models from outside. A network, where
code says so, is the `nn.Module` inside a model (one that another package built) or around it (DistributedDataParallel).
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Model", "load_tensors"]


class Model(nn.Module):
    """A module that can be benchmarked: it knows its input and its loss.

    Subclasses build their layers in the constructor and override `forward`. What most classifiers share is here; models with
    other inputs or losses override `inputs`, `targets` and `loss`.

    Attributes:
        title: Name for reports.
        input_shape: Shape of one instance, without the batch.
        unit: What one instance is, in the plural: throughput is counted in units per second.
        num_classes: Number of classes; targets are 0 … num_classes - 1.
    """

    # What describes a model is no part of it when it is scripted.
    __jit_ignored_attributes__ = ("title", "input_shape", "unit", "num_classes", "vocabulary")

    title: str = ""
    input_shape: tuple[int, ...] = ()
    unit: str = "images"
    num_classes: int = 1000

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        """Start a model.

        Args:
            params: Of models that are written for the original DLBS: `name`, `input_shape`, `num_classes`, `phase`, `dtype`.

        Raises:
            ValueError: One of these is missing.
        """
        super().__init__()
        if params is None:
            return
        missing = [name for name in ("name", "input_shape", "num_classes", "phase", "dtype") if name not in params]
        if missing:
            raise ValueError(f"the model's parameters lack {', '.join(missing)}: Model.check_parameters gives defaults")
        shape = params["input_shape"]
        self.name = self.title = params["name"]
        self.input_shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        self.num_classes, self.phase, self.dtype = params["num_classes"], params["phase"], params["dtype"]

    @staticmethod
    def check_parameters(params: MutableMapping[str, Any], default_params: Mapping[str, Any]) -> None:
        """Add defaults to the parameters of a model that is written for the original DLBS."""
        for name, value in default_params.items():
            params.setdefault(name, value)

    def inputs(self, batch_size: int, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """Random inputs, float32, shape (batch_size, *input_shape), values like normalised images (mean 0, deviation 1).

        Models with several inputs give a tuple, which `forward` gets as it is.
        """
        return torch.randn(batch_size, *self.input_shape, generator=generator)

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random class numbers, int64, shape (batch_size,)."""
        return torch.randint(self.num_classes, (batch_size,), generator=generator)

    def loss(self, output: Any, target: Any) -> Tensor:
        """A scalar: by default the mean cross-entropy of logits (batch_size, num_classes) in float32."""
        return nn.functional.cross_entropy(output.float(), target)

    def load_weights(self, tensors: Mapping[str, Tensor]) -> str:
        """Take trained weights, if every one of them fits.

        Args:
            tensors: By name, as `state_dict` gives them.

        Returns:
            What does not fit, in words; nothing is taken then. Empty if all is well.
        """
        return load_tensors(self, tensors)

    def num_parameters(self) -> int:
        """Trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def num_stored_values(self) -> int:
        """Values in a checkpoint: parameters and buffers, such as the running statistics of batch normalisation."""
        return self.num_parameters() + sum(buffer.numel() for buffer in self.buffers())


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Give a module its tensors, if they are all there and fit; else return what does not, in words."""
    own = module.state_dict()
    missing, unknown = [name for name in own if name not in tensors], [name for name in tensors if name not in own]
    misfits = [
        f"{name} has the shape {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    misfits += [
        f"{name} has the type {tensors[name].dtype} instead of {value.dtype}"
        for name, value in own.items()
        if name in tensors and _kind(tensors[name]) != _kind(value)
    ]
    if missing:
        misfits.append(f"{len(missing)} of {len(own)} are missing ({', '.join(missing[:2])}, …)")
    if unknown:
        misfits.append(f"{len(unknown)} belong to another model ({', '.join(unknown[:2])}, …)")
    if not misfits:
        module.load_state_dict(tensors)
    return "; ".join(misfits[:3])


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """What copying one tensor into another must not change silently: real numbers, complex ones, or whole ones."""
    return tensor.is_floating_point(), tensor.is_complex()
