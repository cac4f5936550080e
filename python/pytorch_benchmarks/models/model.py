"""The base class of all models.

A model has a name, and is measured or trained. An architecture is an external Python file that registers models. A network is
the `nn.Module` inside a model (built by another package) or around it (DistributedDataParallel).
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.option_values import check_whole

__all__ = ["Model", "load_tensors"]


class Model(nn.Module):
    """A module that can be benchmarked: it defines its input and its loss.

    Subclasses build their layers in the constructor and override `forward`. The defaults suit most classifiers; models with
    other inputs or losses override `inputs`, `targets` and `loss`.

    Attributes:
        title: Name for reports.
        input_shape: Shape of one instance, without the batch.
        unit: Plural noun for instances: throughput is in units per second.
        num_classes: Number of classes; targets are 0 … num_classes - 1.
    """

    # The description of a model is not part of its TorchScript.
    __jit_ignored_attributes__ = ("title", "input_shape", "unit", "num_classes", "vocabulary")

    title: str = ""
    input_shape: tuple[int, ...] = ()
    unit: str = "images"
    num_classes: int = 1000

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        """Initialise a model.

        Args:
            params: For models written for the original DLBS: `name`, `input_shape`, `num_classes`, `phase`, `dtype`.

        Raises:
            ValueError: One of these is missing.
        """
        super().__init__()
        if params is None:
            return
        missing = [name for name in ("name", "input_shape", "num_classes", "phase", "dtype") if name not in params]
        if missing:
            raise ValueError(f"the model's parameters lack {', '.join(missing)}: Model.check_parameters adds defaults")
        shape = params["input_shape"]
        self.name = self.title = params["name"]
        self.input_shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        self.num_classes, self.phase, self.dtype = params["num_classes"], params["phase"], params["dtype"]

    @staticmethod
    def check_parameters(params: MutableMapping[str, Any], default_params: Mapping[str, Any]) -> None:
        """Add defaults to the parameters of a model written for the original DLBS."""
        for name, value in default_params.items():
            params.setdefault(name, value)

    def inputs(self, batch_size: int, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """Random inputs, float32, shape (batch_size, *input_shape), values like normalised images (mean 0, standard deviation 1).

        Models with several inputs return a tuple, which is passed to `forward` unchanged.
        """
        return torch.randn(batch_size, *self.input_shape, generator=generator)

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random class numbers, int64, shape (batch_size,)."""
        check_whole("num_classes", self.num_classes)
        return torch.randint(self.num_classes, (batch_size,), generator=generator)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Scalar loss: by default the mean cross-entropy of logits (batch_size, num_classes) in float32."""
        return nn.functional.cross_entropy(output.float(), target)

    def load_weights(self, tensors: Mapping[str, Tensor]) -> str:
        """Load trained weights if all of them fit.

        Args:
            tensors: By name, as in `state_dict`.

        Returns:
            The mismatches as text, in which case nothing is loaded; empty on success.
        """
        return load_tensors(self, tensors)

    def num_parameters(self) -> int:
        """Trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def num_stored_values(self) -> int:
        """Values in a checkpoint: parameters and buffers, such as the running statistics of batch normalisation."""
        return self.num_parameters() + sum(buffer.numel() for buffer in self.buffers())


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Load tensors into a module if all of them exist and fit; otherwise return the mismatches as text."""
    own = module.state_dict()
    missing, unknown = [name for name in own if name not in tensors], [name for name in tensors if name not in own]
    misfits = [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    misfits += [
        f"{name} has type {tensors[name].dtype} instead of {value.dtype}"
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
    """The kind of numbers, which copying must not change silently: real, complex, or integer."""
    return tensor.is_floating_point(), tensor.is_complex()
