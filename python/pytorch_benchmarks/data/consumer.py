"""The part of a model's interface that data loading needs."""

from __future__ import annotations

from typing import Any, Protocol

import torch

__all__ = ["Consumer"]


class Consumer(Protocol):
    """A model as data loading sees it; `models.model.Model` documents the attributes."""

    title: str
    input_shape: tuple[int, ...]
    unit: str
    num_classes: int

    def inputs(self, batch_size: int, generator: torch.Generator) -> Any: ...

    def targets(self, batch_size: int, generator: torch.Generator) -> Any: ...
