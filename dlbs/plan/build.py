"""Build a plan from a configuration: the grid of the variables, then the extensions, then repeats.

Experiments are yielded one at a time as flat dictionaries of raw values, so that a plan of any size needs the memory of one.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlbs.config.config import Config
from dlbs.experiment import Experiment
from dlbs.plan.extensions import Extensions
from dlbs.plan.frameworks import Carried
from dlbs.plan.grid import grid, repeated

__all__ = ["build"]


def build(config: Config) -> Iterator[Experiment]:
    """Yield the raw experiments of a configuration.

    Raises:
        ConfigError: A condition is malformed, or refers to a value that is not constant or to an undefined name.
    """
    carried = Carried(config)
    extensions = Extensions(config, carried)
    points = grid(carried.base(), config)
    if not extensions and carried.is_constant and "exp.repeats" not in config.known_names():
        yield from points
        return
    for point in points:
        for experiment, given in extensions.apply(point):
            whole = experiment if carried.is_constant else carried.trimmed(experiment, given)
            yield from repeated(whole, config)
