"""Seed all random number generators that TorchBench models use."""

from __future__ import annotations

import random
import sys

import torch

__all__ = ["MAIN_RANDOM_SEED", "set_random_seed"]

MAIN_RANDOM_SEED = 1337


def set_random_seed() -> None:
    """Seed the generators of Python, PyTorch and, if it is imported, NumPy."""
    random.seed(MAIN_RANDOM_SEED)
    torch.manual_seed(MAIN_RANDOM_SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(MAIN_RANDOM_SEED)
