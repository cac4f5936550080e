"""The registry of models by name. Code elsewhere imports `register_model` from `pytorch_benchmarks.model_factory`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytorch_benchmarks.models.model import Model

__all__ = ["BUILDERS", "Builder", "register_model"]

Builder = Callable[..., Model]
BuilderType = TypeVar("BuilderType", bound=Builder)

BUILDERS: dict[str, Builder] = {}


def register_model(name: str | None = None) -> Callable[[BuilderType], BuilderType]:
    """Register a class or function that builds a model; its keyword arguments are the options of the model.

    @register_model("deep_mnist")
    class DeepMnist(Model): ...

    Args:
        name: Name of the model; by default that of the class or function. The signature is torchvision's.

    Raises:
        ValueError: Another model has that name.
    """

    def register(builder: BuilderType) -> BuilderType:
        called = builder.__name__ if name is None else name
        if called in BUILDERS:
            raise ValueError(f"two models are named {called!r}")
        BUILDERS[called] = builder
        return builder

    return register
