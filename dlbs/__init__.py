"""DLBS plans, launches and reports deep-learning benchmarks.

From a configuration to a table, with the code of the command line:

    config = dlbs.load_config("plan.yaml", parameters={"exp.model": "resnet18"}, variables={"exp.replica_batch": [8, 16]})
    problems = dlbs.validate(config)
    summary = dlbs.run_plan(config)
    frame = dlbs.load_results("logs")       # a pandas DataFrame, one row per experiment
    comparison = dlbs.compare("logs/before", "logs/after")
    known = dlbs.run_until_known(config, by="exp.replica_batch", budget=7200)
    figure = dlbs.plot(frame, "throughput")

`import dlbs` is cheap: functions are imported on first use. This package never imports torch. The package `pytorch_benchmarks` measures,
and communicates with this one through log lines.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from dlbs.core.version import __version__

if TYPE_CHECKING:
    from dlbs.adaptive.until_known import run_until_known
    from dlbs.api import build_plan, compare, load_config, plot, resolve, run_plan, validate
    from dlbs.core.errors import DlbsError
    from dlbs.results.read.frame import filter_results, load_results, set_values

__all__ = [
    "DlbsError",
    "__version__",
    "build_plan",
    "compare",
    "filter_results",
    "load_config",
    "load_results",
    "plot",
    "resolve",
    "run_plan",
    "run_until_known",
    "set_values",
    "validate",
]

# A checkout that is not installed, or comes before an installed copy, has the programs, and the package in common with them, beside this one.
_PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python")
if _PROGRAMS not in sys.path and os.path.isdir(os.path.join(_PROGRAMS, "benchmark_core")):
    sys.path.insert(0, _PROGRAMS)

_FROM = {
    **dict.fromkeys(("build_plan", "compare", "load_config", "plot", "resolve", "run_plan", "validate"), "dlbs.api"),
    **dict.fromkeys(("filter_results", "load_results", "set_values"), "dlbs.results.read.frame"),
    "DlbsError": "dlbs.core.errors",
    "run_until_known": "dlbs.adaptive.until_known",
}


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(importlib.import_module(_FROM[name]), name)
    raise AttributeError(f"module 'dlbs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_FROM]
