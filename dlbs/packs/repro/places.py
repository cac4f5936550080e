"""Where the Dockerfiles of packs are, for `setup.py` files that were written for Repro: relative to the directory of all packs."""

from __future__ import annotations

__all__ = ["MODELS_ROOT"]

MODELS_ROOT = "packs"
