"""DLBS plans, launches and reports deep-learning benchmarks.

This package never imports torch: what measures lives in `pytorch_benchmarks` and talks to us through log lines.

    frame = dlbs.load_results("logs")    # a pandas DataFrame, one row an experiment
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlbs.version import __version__

if TYPE_CHECKING:
    from dlbs.results.read.frame import filter_results, load_results, set_values

__all__ = ["__version__", "filter_results", "load_results", "set_values"]


def __getattr__(name: str) -> Any:
    """What notebooks use is imported when it is used: `import dlbs` must cost nothing."""
    if name in {"filter_results", "load_results", "set_values"}:
        from dlbs.results.read import frame

        return getattr(frame, name)
    raise AttributeError(f"module 'dlbs' has no attribute {name!r}")
