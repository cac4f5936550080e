"""Which parameters an experiment carries: those of its framework, those of every framework, and what their values refer to.

Parameters of other frameworks would stand in every log and cost time in every experiment, and a new one among them would change exp.id of
experiments that have nothing to do with it.
"""

from __future__ import annotations

from dlbs.config.config import Config, split_names, values_of
from dlbs.experiment import Experiment
from dlbs.language.parser import has_references
from dlbs.language.references import reached
from dlbs.language.template import is_template
from dlbs.text import text

__all__ = ["Carried"]

_FRAMEWORK = "exp.framework"


class Carried:
    """The rule, for one configuration.

    An experiment carries the parameters that belong to every framework, those of its framework and of the frameworks on which that one builds,
    whatever the user sets, and, step by step, what the values of all these refer to. An experiment whose framework is not a constant carries
    everything.

    Attributes:
        bound: Parameters with their shipped value that belong to certain frameworks only → those frameworks.
        is_constant: Whether all experiments of the plan carry the same.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        varied = {name for key in config.variables for name in split_names(key)}
        self.bound = {
            name: frozenset(config.declarations[name].frameworks)
            for name in config.settings
            if name not in varied and config.is_shipped(name) and config.declarations[name].frameworks
        }
        for extension in config.extensions:
            varied.update(extension.parameters, *extension.cases)
        # Only these decide what is carried: the framework, and values that may refer to something in one experiment and not in another.
        self._deciding = sorted(
            name for name in varied if name == _FRAMEWORK or any(map(has_references, values_of(config, name)))
        )
        self.is_constant = not self._deciding
        self._dropped: dict[tuple[str, frozenset[str]], frozenset[str]] = {}

    def base(self) -> Experiment:
        """The parameters from which experiments start: all of them, or those that every experiment of the plan carries if that is constant."""
        parameters = self._config.parameters()
        return self.trimmed(parameters) if self.is_constant else parameters

    def trimmed(self, experiment: Experiment, given: frozenset[str] = frozenset()) -> Experiment:
        """An experiment without the parameters that it does not carry."""
        dropped = self.dropped(experiment, given)
        return {name: value for name, value in experiment.items() if name not in dropped} if dropped else experiment

    def dropped(self, experiment: Experiment, given: frozenset[str] = frozenset()) -> frozenset[str]:
        """The parameters that an experiment with all of them is to lose.

        Args:
            experiment: Raw values.
            given: Of the bound parameters, those that an extension has set in this experiment.
        """
        key = repr([experiment.get(name) for name in self._deciding]), given
        if key not in self._dropped:
            if len(self._dropped) > 4096:
                self._dropped.clear()
            self._dropped[key] = self._find(experiment, given)
        return self._dropped[key]

    def _find(self, experiment: Experiment, given: frozenset[str]) -> frozenset[str]:
        framework = experiment.get(_FRAMEWORK)
        if is_template(framework):
            return frozenset()
        having = self._config.frameworks_under(text(framework))
        left = {name for name, owners in self.bound.items() if name not in given and not owners & having}
        values = [value for name, value in experiment.items() if name not in left]
        while values and left:
            found = reached(values.pop(), left)
            left -= found
            values += [experiment[name] for name in found if name in experiment]
        return frozenset(left)
