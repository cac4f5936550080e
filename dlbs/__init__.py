"""DLBS plans, launches and reports deep-learning benchmarks.

This package never imports torch: what measures lives in `pytorch_benchmarks` and talks to us through log lines.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
