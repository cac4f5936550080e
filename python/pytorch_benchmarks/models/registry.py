"""Where models are registered by their names. Models of other places import `register_model` from `pytorch_benchmarks.model_factory`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytorch_benchmarks.models.model import Model

__all__ = ["BUILDERS", "Builder", "register_model"]

Builder = Callable[..., Model]
BuilderType = TypeVar("BuilderType", bound=Builder)

BUILDERS: dict[str, Builder] = {}


def register_model(name: str | None = None) -> Callable[[BuilderType], BuilderType]:
    """Register a class or a function that builds a model; its keyword arguments are the model's options.

    @register_model("deep_mnist")
    class DeepMnist(Model): ...

    Args:
        name: What it is called; by default as the class or function is. The signature is torchvision's.

    Raises:
        ValueError: Another model is called so.
    """

    def register(builder: BuilderType) -> BuilderType:
        called = builder.__name__ if name is None else name
        if called in BUILDERS:
            raise ValueError(f"two models are called {called!r}")
        BUILDERS[called] = builder
        return builder

    return register
