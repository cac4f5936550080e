"""Where models are registered by their names. Models of other places import `register_model` from `pytorch_benchmarks.model_factory`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytorch_benchmarks.models.model import Model

__all__ = ["BUILDERS", "Builder", "register_model"]

Builder = Callable[..., Model]
BuilderType = TypeVar("BuilderType", bound=Builder)

BUILDERS: dict[str, Builder] = {}


def register_model(name: str) -> Callable[[BuilderType], BuilderType]:
    """Register a class or a function that builds a model; its keyword arguments are the model's options.

    @register_model("deep_mnist")
    class DeepMnist(Model): ...
    """

    def register(builder: BuilderType) -> BuilderType:
        if name in BUILDERS:
            raise ValueError(f"two models are called {name!r}")
        BUILDERS[name] = builder
        return builder

    return register
