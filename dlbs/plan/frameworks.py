"""Select an experiment's parameters: those of its framework and phase, common ones, and those that their values refer to.

Parameters of other frameworks would fill logs and cost time, and adding one would change exp.id of unrelated experiments. Defaults that a
program never reads, such as a model, would be reported as facts.
"""

from __future__ import annotations

from typing import Any

from dlbs.config.config import Config, split_names, values_of
from dlbs.experiment import Experiment
from dlbs.language.parser import has_references
from dlbs.language.references import reached
from dlbs.language.template import is_template
from dlbs.text import text

__all__ = ["Carried"]

_FRAMEWORK, _PACK, _PHASE = "exp.framework", "exp.pack", "exp.phase"


class Carried:
    """The selection rule for one configuration.

    An experiment has the parameters of all frameworks, those of its framework and of the frameworks on which that one builds, all that the
    user sets, and, transitively, those that their values refer to. Of the parameters of certain phases, it has those of its own phase.
    An experiment whose framework is not constant has the parameters of every framework.

    Attributes:
        bound: Parameters with their shipped value that belong only to certain frameworks or phases → the frameworks, empty for all.
        is_constant: Whether all experiments of the plan have the same parameters.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        varied = {name for key in config.variables for name in split_names(key)}
        shipped = [name for name in config.settings if name not in varied and config.is_shipped(name)]
        declared = config.declarations
        self.bound = {
            name: frozenset(declared[name].frameworks)
            for name in shipped
            if declared[name].frameworks or declared[name].phases
        }
        self._phases = {name: frozenset(declared[name].phases) for name in self.bound if declared[name].phases}
        self._follows = {name: declared[name].follows for name in self.bound if declared[name].follows}
        # Parameters with alternative values, because they refer to parameters that not every experiment has.
        self._adaptable = {
            name: (config.settings[name].value, *declared[name].alternatives)
            for name in shipped
            if declared[name].alternatives
        }
        extended = {name for one in config.extensions for given in (one.parameters, *one.cases) for name in given}
        # Only these determine the selection: the framework, the pack, and values whose references may differ between experiments.
        self._deciding = sorted(
            name
            for name in varied | extended
            if name == _FRAMEWORK
            or (name == _PHASE and self._phases_matter())
            or (name == _PACK and config.packs)
            or any(map(has_references, values_of(config, name)))
        )
        self._fitted: dict[tuple[str, frozenset[str]], tuple[frozenset[str], dict[str, Any]]] = {}
        self.is_constant = not self._deciding and not self._matters(extended)

    def _phases_matter(self) -> bool:
        """Whether the selection depends on the phases of the plan."""
        deciding = frozenset[str]().union(*self._phases.values())
        return any(is_template(value) or text(value) in deciding for value in values_of(self._config, _PHASE))

    def _matters(self, extended: set[str]) -> bool:
        """Whether an extension may set a parameter that experiments would otherwise lack, and on which other parameters depend."""
        dropped = set(self.dropped(self._config.parameters()))
        leading = set(self._follows.values()) & dropped
        for values in self._adaptable.values():
            leading |= reached(values[0], dropped)
        return not leading.isdisjoint(extended)

    def base(self) -> Experiment:
        """The initial parameters of experiments: all of them, or only the selected ones if the selection is constant."""
        parameters = self._config.parameters()
        return self.trimmed(parameters) if self.is_constant else parameters

    def trimmed(self, experiment: Experiment, given: frozenset[str] = frozenset()) -> Experiment:
        """Remove the parameters that an experiment must not have, and choose the alternative values that fit the rest."""
        dropped, adapted = self._fit(experiment, given)
        if not dropped:
            return experiment
        kept = {name: value for name, value in experiment.items() if name not in dropped}
        for name, value in adapted.items():
            if kept.get(name) == self._adaptable[name][0]:
                kept[name] = value
        return kept

    def dropped(self, experiment: Experiment, given: frozenset[str] = frozenset()) -> frozenset[str]:
        """The parameters to remove from an experiment that has all of them.

        Args:
            experiment: Raw values.
            given: The bound parameters that an extension has set in this experiment.
        """
        return self._fit(experiment, given)[0]

    def _fit(self, experiment: Experiment, given: frozenset[str]) -> tuple[frozenset[str], dict[str, Any]]:
        """The parameters to remove from an experiment, and the alternative values that fit the rest."""
        key = repr([experiment.get(name) for name in self._deciding]), given
        if key not in self._fitted:
            if len(self._fitted) > 4096:
                self._fitted.clear()
            dropped = self._find(experiment, given)
            adapted = {
                name: next((value for value in values if not reached(value, set(dropped))), values[-1])
                for name, values in self._adaptable.items()
            }
            self._fitted[key] = dropped, adapted
        return self._fitted[key]

    def _find(self, experiment: Experiment, given: frozenset[str]) -> frozenset[str]:
        framework, pack = experiment.get(_FRAMEWORK), experiment.get(_PACK)
        if is_template(framework):
            return frozenset(name for name in self._phases if not self._fits_phase(name, experiment))
        having = self._config.frameworks_under(text(framework), text(pack))
        left = {
            name
            for name, owners in self.bound.items()
            if name not in given and ((owners and not owners & having) or not self._fits_phase(name, experiment))
        }
        values = [value for name, value in experiment.items() if name not in left and not self._adapts(name, value)]
        while True:
            while values and left:
                found = reached(values.pop(), left)
                left -= found
                values += [experiment[name] for name in found if name in experiment]
            following = {
                name for name, leader in self._follows.items() if name in left and leader in experiment.keys() - left
            }
            if not following:
                return frozenset(left)
            left -= following
            values += [experiment[name] for name in following if name in experiment]

    def _fits_phase(self, name: str, experiment: Experiment) -> bool:
        phases, phase = self._phases.get(name), experiment.get(_PHASE)
        return phases is None or is_template(phase) or text(phase) in phases

    def _adapts(self, name: str, value: Any) -> bool:
        return name in self._adaptable and bool(value == self._adaptable[name][0])
