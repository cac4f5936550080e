"""DLBS plans, launches and reports deep-learning benchmarks.

This package never imports torch: what measures lives in `pytorch_benchmarks` and talks to us through log lines.

    frame = dlbs.load_results("logs")    # a pandas DataFrame, one row an experiment
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlbs.results.read.frame import load_results, select, update

__all__ = ["__version__", "load_results", "select", "update"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What notebooks use is imported when it is used: `import dlbs` must cost nothing."""
    if name in {"load_results", "select", "update"}:
        from dlbs.results.read import frame

        return getattr(frame, name)
    raise AttributeError(f"module 'dlbs' has no attribute {name!r}")
