"""Build a plan from a configuration: the grid of the variables, then the extensions, then repeats.

Experiments are yielded one at a time as flat dictionaries of raw values, so that a plan of any size needs the memory of one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dlbs.config.config import Config, Extension, split_names, values_of
from dlbs.core.errors import ConfigError, DlbsError, ResolveError, log, suggestion
from dlbs.core.experiment import HIDDEN, Experiment, hidden_prefix
from dlbs.core.text import text
from dlbs.language.patterns import condition_test
from dlbs.language.template import escape, has_references, is_template, map_texts, reached

if TYPE_CHECKING:
    from dlbs.plan.resolve import Tracer


def grid(base: Experiment, config: Config) -> Iterator[Experiment]:
    """Yield all combinations of the variables' values; the last variable changes fastest.

    Args:
        base: Parameters that do not vary.
        config: Contains the variables.

    Raises:
        ConfigError: sys.plan_builder.var_order is malformed.
    """
    variables = _ordered_variables(config)
    names = [split_names(key) for key in variables]
    if not names:
        yield base.copy()
        return
    for point in itertools.product(*(config.variables[key] for key in variables[:-1])):
        outer = base.copy()
        for keys, value in zip(names[:-1], point, strict=True):
            outer.update(zip(keys, value if len(keys) > 1 else (value,), strict=True))
        keys = names[-1]
        for value in config.variables[variables[-1]]:
            experiment = outer.copy()
            if len(keys) == 1:
                experiment[keys[0]] = value
            else:
                experiment.update(zip(keys, value, strict=True))
            yield experiment


def _ordered_variables(config: Config) -> list[str]:
    written = list(config.variables)
    setting = config.settings.get("sys.plan_builder.var_order")
    if setting is None or not setting.value:
        return written
    order = config.declarations["sys.plan_builder.var_order"].check(setting.value)
    varying = {name for key in written for name in split_names(key)}
    fixed = (config.fixed | config.from_command_line) - varying
    found = []
    for given in order:
        key = ",".join(name for name in split_names(str(given)) if name not in fixed)
        if key and key not in written:
            raise ConfigError(
                f"sys.plan_builder.var_order names {given!r}, which is not a variable",
                where=setting.where,
                hint=suggestion(str(given), written, "variables are"),
            )
        if key in found:
            raise ConfigError(
                f"sys.plan_builder.var_order names {given!r} twice", where=setting.where, hint="name it once"
            )
        found += [key] if key else []
    return [*found, *(key for key in written if key not in found)]


def repeated(experiment: Experiment, config: Config) -> Iterator[Experiment]:
    """Yield an experiment exp.repeats times, numbered by exp.repeat.

    Args:
        experiment: Its parameters, unresolved.
        config: Declares exp.repeats.

    Raises:
        ConfigError: exp.repeats is not a constant positive integer.
    """
    repeats = experiment.get("exp.repeats", 1)
    if repeats.__class__ is not int:
        if is_template(repeats):
            raise ConfigError(f"exp.repeats must be a constant number, not {json.dumps(repeats)}")
        try:
            repeats = config.declarations["exp.repeats"].check(repeats)
        except ResolveError as error:
            raise ConfigError(error.what, hint=error.hint) from None
    if repeats < 1:
        raise ConfigError(f"exp.repeats must be at least 1, not {repeats}")
    if repeats == 1:
        yield experiment
        return
    for repeat in range(1, repeats + 1):
        yield {**experiment, "exp.repeat": repeat}


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
        varied = config.varied_names()
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
        extended = {name for extension in config.extensions for name, _ in extension.assigned()}
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


# An experiment in progress, and the parameters of other frameworks that extensions have set in it.
Made = tuple[Experiment, frozenset[str]]

# A reference to a group of a condition's match: its backslashes, an odd number of which escape it, its bracket, and its name.
_GROUP = rf"(?<!\\)(\\*)(\$[{{<]){re.escape(HIDDEN)}([\w.\-]+)"

# For each case, the parameters that an extension adds to an experiment, and which of them belong to certain frameworks; None without a match.
Additions = list[tuple[dict[str, Any], frozenset[str]]] | None


class Extensions:
    """The extensions and exclusions of a configuration.

    Args:
        config: The configuration.
        carried: Determines the parameters that an experiment has.

    Raises:
        ConfigError: A condition is malformed, or refers to an undefined name.
    """

    def __init__(self, config: Config, carried: Carried) -> None:
        self._from_command_line = config.from_command_line
        self._warned: set[tuple[str, str]] = set()
        self._adding: list[_Matcher] = []
        self._excluding: list[_Matcher] = []
        if config.extensions or config.exclude:
            from dlbs.plan.resolve import Tracer

            known, tracer = config.known_names(), Tracer(config.declarations)
            matchers = [
                _Matcher(one, number, config, known, carried, tracer)
                for number, one in enumerate((*config.extensions, *config.exclude), start=1)
            ]
            self._adding = matchers[: len(config.extensions)]
            self._excluding = matchers[len(config.extensions) :]

    def __bool__(self) -> bool:
        return bool(self._adding or self._excluding)

    def apply(self, point: Experiment) -> Iterator[Made]:
        """Apply all extensions in order to a point of the grid, and yield the resulting experiments without excluded ones.

        They are yielded one at a time, so that memory does not grow with the product of the cases.

        Raises:
            ConfigError: A condition refers to a value that is not constant.
        """
        waiting = [iter([(point, frozenset[str]())])]  # per extension: the results of the previous one
        while waiting:
            one = next(waiting[-1], None)
            if one is None:
                waiting.pop()
            elif len(waiting) <= len(self._adding):
                waiting.append(self._extend(one, self._adding[len(waiting) - 1]))
            elif all(matcher.additions(one) is None for matcher in self._excluding):
                yield one

    def origins(self) -> dict[str, str]:
        """The parameters that extensions set in the experiment that `apply` yielded last → the place of the last one that set it."""
        return {name: matcher.extension.where for matcher in self._adding for name in matcher.added}

    def _extend(self, one: Made, matcher: _Matcher) -> Iterator[Made]:
        additions = matcher.additions(one)
        matcher.added = {}
        if additions is None:
            yield one
            return
        experiment, given = one
        for added, bound in additions:
            for name in added:
                if name in self._from_command_line and added[name] != experiment.get(name):
                    self._warn(name, matcher.extension.where)
            matcher.added = added
            yield {**experiment, **added}, given | bound if bound else given

    def _warn(self, name: str, where: str) -> None:
        if (name, where) not in self._warned:
            self._warned.add((name, where))
            log("warning", "-P%s is overwritten by the extension at %s", name, where)


class _Matcher:
    """One extension, with its results cached by the values that its condition checks; `number` distinguishes it from the others."""

    def __init__(
        self, extension: Extension, number: int, config: Config, known: set[str], carried: Carried, tracer: Tracer
    ) -> None:
        self.extension = extension
        self.carried = carried
        self.tracer = tracer
        self.names = list(extension.condition)
        self.tests = [condition_test(name, expected, extension.where) for name, expected in extension.condition.items()]
        self.prefix = hidden_prefix(number)  # of the hidden parameters for its groups
        self.remembered: dict[str, Additions] = {}
        self.added: dict[str, Any] = {}  # the parameters that it set in the latest experiment
        self.on_bound = not carried.is_constant and not carried.bound.keys().isdisjoint(self.names)
        for name in self.names:
            if name not in known:
                from dlbs.config.names import name_hint

                raise ConfigError(
                    f"condition on {name!r}, which is not defined",
                    where=extension.where,
                    hint=name_hint(name, known),
                )

    def additions(self, one: Made) -> Additions:
        """The parameters that the extension adds to an experiment; None if it does not match."""
        experiment, given = one
        values = []
        for name in self.names:
            if name not in experiment:
                return None
            values.append(experiment[name])
        if self.on_bound and not self.carried.dropped(experiment, given).isdisjoint(self.names):
            return None
        key = repr(values)
        if key not in self.remembered:
            if len(self.remembered) > 4096:
                self.remembered.clear()
            self.remembered[key] = self._match(values)
        return self.remembered[key]

    def _match(self, values: list[Any]) -> Additions:
        groups: dict[str, str] = {}
        for name, value, test in zip(self.names, values, self.tests, strict=True):
            matched = test(self._constant(name, value))
            if matched is None:
                return None
            groups |= {f"{name}_{number}": group for number, group in enumerate(matched)}
        cases = self.extension.cases or [{}]
        added = [self._with_groups({**self.extension.parameters, **case}, groups) for case in cases]
        return [(one, frozenset(one.keys() & self.carried.bound.keys())) for one in added]

    def _constant(self, name: str, value: Any) -> Any:
        """The final value of a parameter that depends on no other parameter."""
        try:
            if has_references(value):
                raise ConfigError(
                    f"condition on {name!r}, whose value {json.dumps(value)} is not constant",
                    where=self.extension.where,
                    hint="conditions are evaluated before references are resolved",
                )
            return self.tracer.trace({name: value}).values[name]
        except DlbsError as error:
            raise ConfigError(error.what, where=self.extension.where, hint=error.hint) from None

    def _with_groups(self, parameters: dict[str, Any], groups: dict[str, str]) -> dict[str, Any]:
        """Store the groups that the parameters refer to, under names specific to this extension.

        They are escaped hidden parameters, not pasted text: a matched value is data, never evaluated.
        """
        used: set[str] = set()

        def own(found: re.Match[str]) -> str:
            backslashes, opening, name = found.groups()
            if len(backslashes) % 2:
                return found[0]
            if name not in groups:
                raise ConfigError(
                    f"${{{HIDDEN}{name}}} is not a group of the condition",
                    where=self.extension.where,
                    hint=f"known are {', '.join(groups) or 'none'}: NAME_0 is the complete match, NAME_1 the first group",
                )
            used.add(name)
            return f"{backslashes}{opening}{self.prefix}{name}"

        added = {name: map_texts(value, lambda words: re.sub(_GROUP, own, words)) for name, value in parameters.items()}
        hidden = {f"{self.prefix}{name}": escape(group) for name, group in groups.items()}
        return {**added, **hidden} if used else parameters


def build(config: Config, carried: Carried | None = None) -> Iterator[Experiment]:
    """Yield the raw experiments of a configuration.

    Args:
        config: The configuration.
        carried: Its selection rule, for callers that build the plan several times.

    Raises:
        ConfigError: A condition is malformed, or refers to a value that is not constant or to an undefined name.
    """
    carried = carried or Carried(config)
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
