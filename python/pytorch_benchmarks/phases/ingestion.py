"""Ingestion: batches are loaded to the device, and no model runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["ingestion_step"]


def ingestion_step() -> Callable[[Any], Any]:
    """Return a function that takes one batch and does nothing with it."""

    def step(batch: Any) -> Any:
        return batch[0]

    return step
