"""Extensions, which add parameters to experiments that meet their conditions, and exclusion of experiments."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dlbs.config.config import Config, Extension
from dlbs.config.names import name_hint
from dlbs.errors import ConfigError, DlbsError
from dlbs.experiment import HIDDEN, Experiment, hidden_prefix
from dlbs.language.conditions import condition_test
from dlbs.language.parser import has_references
from dlbs.language.template import escape
from dlbs.plan.frameworks import Carried

if TYPE_CHECKING:
    from dlbs.plan.trace import Tracer

__all__ = ["Extensions", "Made"]

_log = logging.getLogger("dlbs")

# An experiment in progress, and the parameters of other frameworks that extensions have set in it.
Made = tuple[Experiment, frozenset[str]]

# A reference to a group of a condition's match: its backslashes, an odd number of which escape it, its bracket, and its name.
_GROUP = re.compile(rf"(?<!\\)(\\*)(\$[{{<]){re.escape(HIDDEN)}([\w.\-]+)")

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
            from dlbs.plan.trace import Tracer

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
            _log.warning("-P%s is overwritten by the extension at %s", name, where)


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
                from dlbs.config.migration import migration_hint

                raise ConfigError(
                    f"condition on {name!r}, which is not defined",
                    where=extension.where,
                    hint=migration_hint(name) or name_hint(name, known),
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

        added = {name: _substituted(value, own) for name, value in parameters.items()}
        hidden = {f"{self.prefix}{name}": escape(group) for name, group in groups.items()}
        return {**added, **hidden} if used else parameters


def _substituted(value: Any, own: Callable[[re.Match[str]], str]) -> Any:
    """The value with the references to groups in its texts replaced, in lists and dicts too."""
    if isinstance(value, str):
        return _GROUP.sub(own, value) if HIDDEN in value else value
    if isinstance(value, list):
        return [_substituted(item, own) for item in value]
    if isinstance(value, dict):
        return {key: _substituted(item, own) for key, item in value.items()}
    return value
