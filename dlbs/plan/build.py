"""From a configuration to a plan: the product of the variables, then the extensions, then repeats.

Experiments come out one at a time as flat dictionaries of raw values, so that a plan of any size takes the memory of one.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

from dlbs.config.config import Config, Extension, split_names
from dlbs.config.names import name_hint
from dlbs.errors import ConfigError, DlbsError, suggestion
from dlbs.experiment import HIDDEN, Experiment
from dlbs.language.conditions import condition_test
from dlbs.language.template import escape, has_references, is_template
from dlbs.plan.frameworks import Carried
from dlbs.plan.resolve import Processor

__all__ = ["build", "varying_names"]

_log = logging.getLogger("dlbs")

# An experiment under way, and which parameters of other frameworks extensions have set in it.
_Made = tuple[Experiment, frozenset[str]]

_GROUP = re.compile(rf"\$[{{<]{re.escape(HIDDEN)}([\w.\-]+)")  # a reference to what a condition matched

# What an extension adds to an experiment for each case, and the parameters of certain frameworks among it; None if there is no match.
Additions = list[tuple[dict[str, Any], frozenset[str]]] | None


def varying_names(config: Config) -> set[str]:
    """Parameters whose raw values may differ between the experiments of the plan."""
    names = {name for key in config.variables for name in split_names(key)}
    for extension in config.extensions:
        names.update(extension.parameters, *extension.cases)
    return names | {"exp.repeat"}


def build(config: Config) -> Iterator[Experiment]:
    """Yield the experiments of a configuration, raw.

    Raises:
        ConfigError: A condition is malformed, not on a constant, or on a name that nothing defines.
    """
    carried = Carried(config)
    base = config.parameters()
    if carried.is_constant:
        left_out = carried.dropped(base)
        base = {name: value for name, value in base.items() if name not in left_out}
    variables = _ordered_variables(config)
    known = config.known_names()
    extensions = [_Matcher(extension, config, known, carried) for extension in config.extensions]
    excluded = [_Matcher(extension, config, known, carried) for extension in config.exclude]
    warned: set[tuple[str, str]] = set()
    product = _product(base, variables, config)
    if not extensions and not excluded and carried.is_constant and "exp.repeats" not in known:
        yield from product
        return
    for point in product:
        made: list[_Made] = [(point, frozenset())]
        for matcher in extensions:
            made = [extended for one in made for extended in _extend(one, matcher, config, warned)]
        for one in made:
            if any(matcher.additions(one) is not None for matcher in excluded):
                continue
            experiment = one[0]
            if not carried.is_constant:
                left_out = carried.dropped(*one)
                experiment = {name: value for name, value in experiment.items() if name not in left_out}
            if experiment.get("exp.repeats", 1) == 1:
                yield experiment
            else:
                yield from _repeat(experiment)


def _product(base: Experiment, variables: list[str], config: Config) -> Iterator[Experiment]:
    """All combinations of the variables' values; the last variable changes from one to the next."""
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
    order = setting.value if setting else None
    if not order:
        return written
    assert setting is not None
    if not isinstance(order, list):
        raise ConfigError("sys.plan_builder.var_order must be a list of variables", where=setting.where)
    found = []
    for given in order:
        # What -P sets does not vary any more.
        key = ",".join(name for name in split_names(str(given)) if name not in config.from_command_line)
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


def _extend(one: _Made, matcher: _Matcher, config: Config, warned: set[tuple[str, str]]) -> Iterator[_Made]:
    additions = matcher.additions(one)
    if additions is None:
        yield one
        return
    experiment, given = one
    for added, bound in additions:
        for name in added:
            if name in config.from_command_line and added[name] != experiment.get(name):
                warning = (name, matcher.extension.where)
                if warning not in warned:
                    warned.add(warning)
                    _log.warning("-P%s is overwritten by the extension at %s", *warning)
        yield {**experiment, **added}, given | bound if bound else given


def _repeat(experiment: Experiment) -> Iterator[Experiment]:
    repeats = experiment.get("exp.repeats", 1)
    if is_template(repeats) or not isinstance(repeats, (int, str)) or isinstance(repeats, bool):
        raise ConfigError(f"exp.repeats must be a constant number, not {json.dumps(repeats)}")
    try:
        count = int(repeats)
    except ValueError:
        raise ConfigError(f"exp.repeats must be a number, not {json.dumps(repeats)}") from None
    if count < 1:
        raise ConfigError(f"exp.repeats must be at least 1, not {count}")
    if count == 1:
        yield experiment
        return
    for repeat in range(1, count + 1):
        yield {**experiment, "exp.repeat": repeat}


class _Matcher:
    """One extension, with what it adds remembered by the values that its condition looks at."""

    def __init__(self, extension: Extension, config: Config, known: set[str], carried: Carried) -> None:
        self.extension = extension
        self.carried = carried
        self.processor = Processor(config.declarations)
        self.names = list(extension.condition)
        self.tests = [condition_test(name, expected, extension.where) for name, expected in extension.condition.items()]
        own = "".join(letter if letter.isalnum() else "_" for letter in extension.where)
        self.prefix = f"{HIDDEN}{own}."  # of the hidden parameters that hold its groups
        self.remembered: dict[str, Additions] = {}
        self.on_bound = not carried.is_constant and not carried.bound.keys().isdisjoint(self.names)
        for name in self.names:
            if name not in known:
                raise ConfigError(
                    f"condition on {name!r}, which nothing defines",
                    where=extension.where,
                    hint=name_hint(name, known),
                )

    def additions(self, one: _Made) -> Additions:
        """What the extension adds to an experiment; None if it does not match."""
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
                    hint="conditions are decided before references are resolved",
                )
            return self.processor.resolve_uncached({name: value})[name]
        except DlbsError as error:
            raise ConfigError(error.what, where=self.extension.where, hint=error.hint) from None

    def _with_groups(self, parameters: dict[str, Any], groups: dict[str, str]) -> dict[str, Any]:
        """Keep the groups that the parameters refer to, under names of this extension's own.

        They are hidden parameters, not pasted text, and escaped: what a value brings is data, never evaluated.
        """
        written = json.dumps(parameters)
        if HIDDEN not in written:
            return parameters
        for name in _GROUP.findall(written):
            if name not in groups:
                raise ConfigError(
                    f"${{{HIDDEN}{name}}} is no group of the condition",
                    where=self.extension.where,
                    hint=f"there are {', '.join(groups) or 'none'}: NAME_0 is all that matched, NAME_1 the first group",
                )
        added: dict[str, Any] = json.loads(_GROUP.sub(lambda found: f"{found[0][:2]}{self.prefix}{found[1]}", written))
        return {**added, **{f"{self.prefix}{name}": escape(group) for name, group in groups.items()}}
