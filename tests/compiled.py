"""What processes that tests fork find computed already: the shipped configuration, its expressions, and the templates of launchers."""

from __future__ import annotations

from pathlib import Path

from dlbs.config.load import load_config
from dlbs.launch.script import make_launcher
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for

__all__ = ["compile_shipped"]


def compile_shipped() -> None:
    """Make the launchers of the frameworks that most tests use, which remembers the parts that they consist of."""
    for framework in ("dummy", "command", "pytorch"):
        config = load_config(parameters=[f"exp.framework={framework}", "exp.docker=false"])
        for experiment in processor_for(config).resolve_all(build(config)):
            make_launcher(experiment, Path("/"))
