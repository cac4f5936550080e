"""What data have to know of the model that they are for."""

from __future__ import annotations

from typing import Any, Protocol

import torch

__all__ = ["Consumer"]


class Consumer(Protocol):
    """A model, as far as its data are concerned; `models.model.Model` says what each attribute means."""

    title: str
    input_shape: tuple[int, ...]
    unit: str
    num_classes: int

    def inputs(self, batch_size: int, generator: torch.Generator) -> Any: ...

    def targets(self, batch_size: int, generator: torch.Generator) -> Any: ...
