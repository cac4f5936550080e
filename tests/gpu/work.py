"""What tests give a device to do: chains of matrix products, kernels that only wait, models with a batch; and what programs log of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlbs.core.logs import parse_line
from pytorch_benchmarks.data.source import synthetic_batches
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Model

__all__ = ["logged", "matrix_chain", "sleep", "small_model"]


def matrix_chain(device: torch.device, products: int, size: int = 0) -> Callable[[Any], Tensor]:
    """A step of so many products of square matrices, each of which needs the one before.

    Args:
        device: Where it runs.
        products: How many.
        size: Rows and columns; 0 is 4096 on a GPU, where a product takes milliseconds in float32, and 64 on a CPU.
    """
    size = size or (64 if device.type == "cpu" else 4096)
    generator = torch.Generator().manual_seed(1)
    factor = (torch.randn(size, size, generator=generator) / size**0.5).to(device)  # keeps the products' size as it is

    def step(_: Any) -> Tensor:
        value = factor
        for _number in range(products):
            value = value @ factor
        return value

    return step


def sleep(milliseconds: float) -> None:
    """Keep the current stream of the GPU busy for about so long; the host goes on."""
    torch.cuda._sleep(int(milliseconds * 1e6 * 1.5))  # cycles, of a clock of about 1.5 GHz


def small_model(name: str, device: torch.device, batch: int = 2, **options: Any) -> tuple[Model, Iterator[Any]]:
    """A model with seeded weights on a device, and its synthetic batch for ever."""
    torch.manual_seed(1)
    model = get_model(name, **options).to(device)
    return model, synthetic_batches(model, batch, device=device, dtype=torch.float32, seed=1)


def logged(log: Path) -> dict[str, Any]:
    """All values of a log file."""
    return dict(pair for pair in map(parse_line, log.read_text().splitlines()) if pair)
