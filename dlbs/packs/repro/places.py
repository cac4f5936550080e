"""The directory of all packs, to which Dockerfile paths in `setup.py` files written for Repro are relative."""

from __future__ import annotations

__all__ = ["MODELS_ROOT"]

MODELS_ROOT = "packs"
