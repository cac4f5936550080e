"""Build a plan from a configuration: the grid of the variables, then the extensions, then repeats.

Experiments are yielded one at a time as flat dictionaries of raw values, so that a plan of any size needs the memory of one.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlbs.config.config import Config
from dlbs.errors import ConfigError
from dlbs.experiment import Experiment
from dlbs.plan.extensions import Extensions
from dlbs.plan.frameworks import Carried
from dlbs.plan.grid import grid, repeated

__all__ = ["build", "first_with_origins"]


def build(config: Config) -> Iterator[Experiment]:
    """Yield the raw experiments of a configuration.

    Raises:
        ConfigError: A condition is malformed, or refers to a value that is not constant or to an undefined name.
    """
    carried = Carried(config)
    yield from _experiments(config, carried, Extensions(config, carried))


def first_with_origins(config: Config) -> tuple[Experiment, dict[str, str]]:
    """The first raw experiment of a plan, and the place where each of its parameters was set.

    Raises:
        ConfigError: As `build`, or the plan is empty.
    """
    carried = Carried(config)
    extensions = Extensions(config, carried)
    experiment = next(_experiments(config, carried, extensions), None)
    if experiment is None:
        raise ConfigError("the plan has no experiments")
    extended = extensions.origins()
    return experiment, {name: extended.get(name) or config.origin(name) for name in experiment}


def _experiments(config: Config, carried: Carried, extensions: Extensions) -> Iterator[Experiment]:
    points = grid(carried.base(), config)
    if not extensions and carried.is_constant and "exp.repeats" not in config.known_names():
        yield from points
        return
    for point in points:
        for experiment, given in extensions.apply(point):
            whole = experiment if carried.is_constant else carried.trimmed(experiment, given)
            yield from repeated(whole, config)
