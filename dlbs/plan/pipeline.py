"""From a configuration or a plan file to resolved experiments, in the order in which they run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dlbs.config.config import Config, Setting, values_of
from dlbs.config.load import shipped_files
from dlbs.core.errors import ConfigError, DlbsError, Problems
from dlbs.core.experiment import HIDDEN, Experiment
from dlbs.core.files import dlbs_root
from dlbs.core.version import __version__
from dlbs.language.functions import VOLATILE
from dlbs.language.template import escape, has_references, reached

if TYPE_CHECKING:
    from dlbs.plan.compile import Processor

ORDERS = ("plan", "round-robin", "random")


def ordered(experiments: Iterable[dict[str, Any]], order: str, seed: int) -> Iterator[dict[str, Any]]:
    """Reorder the experiments of a plan. Except with `plan`, all of them are kept in memory, unresolved.

    Args:
        order: `plan` keeps the order; `round-robin` runs the first repeat of all experiments, then the second, because consecutive
            repeats run under similar conditions and would vary too little; `random` shuffles.
        seed: Seed of `random`.
    """
    if order == "plan":
        return iter(experiments)
    held = list(experiments)
    if order == "random":
        from random import Random

        Random(seed).shuffle(held)
        return iter(held)
    return iter(
        sorted(held, key=lambda one: int(one.get("exp.repeat") or 1))
    )  # stable: the plan's order within a repeat


_FEW = 100  # experiments of a small plan
_BUILDING = ("exp.pack", "sys.plan_builder.var_order")  # parameters that `dlbs build` evaluates
_BUILD = "use them in dlbs build, which writes the plan"


class Saved:
    """The experiments of a plan file.

    Args:
        config: Declares the parameters. Only what `-P` sets applies to the experiments.
        plan: The file.

    Raises:
        ConfigError: The configuration contains values, variables, extensions or exclusions, which would have no effect.
    """

    def __init__(self, config: Config, plan: str) -> None:
        self._config, self._plan = config, plan
        problems = Problems()
        _check_unused(config, problems)
        problems.raise_all()
        self._given = {name: config.settings[name] for name in config.settings if name in config.from_command_line}
        self._values = {name: setting.value for name, setting in self._given.items()}
        # Name → the parameters that are computed from it: by default, or as the configuration sets them.
        self._readers: dict[str, set[str]] = {name: set() for name in self._given}
        values = [(name, parameter.default) for name, parameter in config.declarations.items()]
        values += config.parameters().items()
        for reader, value in values:
            for name in reached(value, set(self._given)):
                self._readers[name].add(reader)

    def as_written(self) -> Iterator[Experiment]:
        """Yield the experiments without the values of `-P`; their names are checked like those of a configuration."""
        from dlbs.plan.files import read_plan

        checked: set[tuple[str, ...]] = set()
        for number, experiment in enumerate(read_plan(self._plan), start=1):
            names = tuple(experiment)
            if names not in checked:
                own = [name for name in names if not name.startswith(HIDDEN)]
                self._config.check_names(own, f"{self._plan}: experiment {number}")
                checked.add(names)
            yield experiment

    def __iter__(self) -> Iterator[Experiment]:
        """Yield the experiments with the values of `-P`, and with the repeats of `-Pexp.repeats`.

        Raises:
            ConfigError: A value would have no effect: the plan is resolved, or already has repeats.
        """
        if not self._given:
            yield from self.as_written()
            return
        for number, experiment in enumerate(self.as_written(), start=1):
            place = f"{self._plan}: experiment {number}"
            resolved = _is_resolved(experiment)
            unused = [name for name in self._given if self._is_unused(name, experiment, resolved)]
            if unused:
                where = ", ".join(_flag(self._given[name]) for name in unused)
                if resolved:
                    raise ConfigError(
                        f"would have no effect on {place}, because the plan is resolved: "
                        "values that depend on it are final",
                        where=where,
                        hint="build the plan again with it, or without --resolve",
                    )
                raise ConfigError(f"would have no effect on {place}", where=where, hint="build the plan again with it")
            changed = {**experiment, **self._values}
            if "exp.repeats" in self._given and not self._is_equal("exp.repeats", experiment):
                from dlbs.plan.build import repeated

                yield from repeated(changed, self._config)
            else:
                yield changed

    def _is_unused(self, name: str, experiment: Experiment, resolved: bool) -> bool:
        """Whether a value of `-P` would be logged, but not used."""
        if self._is_equal(name, experiment):
            return False
        if name == "exp.repeats":
            return (resolved and "exp.id" in experiment) or experiment.get(name) not in (None, "", 1, "1")
        if name in _BUILDING:
            return True
        # A plan written by hand has no exp.id; it may lack parameters that launchers read.
        if not resolved or not (name in experiment or "exp.id" in experiment):
            return False
        parameter = self._config.declarations.get(name)
        identifies = parameter is None or parameter.identity
        return identifies or not self._readers[name].isdisjoint(experiment)

    def _is_equal(self, name: str, experiment: Experiment) -> bool:
        """Whether an experiment already has the value of `-P`."""
        if name not in experiment:
            return False
        value, parameter = self._values[name], self._config.declarations.get(name)
        if parameter is not None and not has_references(value):
            try:
                value = parameter.check(value)
            except DlbsError:  # reported when it is resolved
                return False
        same = (value, escape(value))  # final values are escaped in a plan
        return any(json.dumps(experiment[name]) == json.dumps(one) for one in same)


def _is_resolved(experiment: Experiment) -> bool:
    """Whether an experiment was written by `dlbs build --resolve`: its values no longer depend on each other."""
    if "exp.id" in experiment:
        return not any(has_references(experiment.get(name)) for name in ("exp.id", "exp.log_file"))
    return not any(map(has_references, experiment.values()))


def _flag(setting: Setting) -> str:
    return "--nodes (-Pexp.nodes)" if setting.where == "-Pexp.nodes" else setting.where


def _check_unused(config: Config, problems: Problems) -> None:
    """Find parts of a configuration that apply only when a plan is built."""
    shipped = {str(path) for path in shipped_files(dlbs_root())}

    def is_own(where: str) -> bool:
        return where.rpartition(":")[0] not in shipped

    places = {
        "variables": [*config.variable_origins.values()],
        # The extensions of packs are the first ones.
        "extensions": [one.where for one in config.extensions[len(config.packs) :] if is_own(one.where)],
        "exclude": [one.where for one in config.exclude if is_own(one.where)],
    }
    for what, found in places.items():
        with problems:
            if found:
                where = ", ".join(dict.fromkeys(found))
                raise ConfigError(f"{what} cannot be combined with a list of experiments", where=where, hint=_BUILD)
    for name, setting in config.settings.items():
        if name not in config.from_command_line and not config.is_shipped(name) and is_own(setting.where):
            with problems:
                raise ConfigError(
                    f"the value of {name} cannot be combined with a list of experiments; a file may only declare parameters there",
                    where=setting.where,
                    hint=f"change the experiments of the plan with -P{name}, or build the plan again",
                )


def processor_for(config: Config) -> Processor:
    """Make a `Processor` with the configuration's declarations, and with the paths of DLBS and its Python.

    `${DLBS_ROOT}`, `${DLBS_PYTHON}` and `${DLBS_VERSION}` can be referenced like environment variables, which override the first two.
    """
    from dlbs.plan.compile import Processor  # `dlbs build` resolves nothing

    environ = {"DLBS_ROOT": str(dlbs_root()), "DLBS_PYTHON": sys.executable or "python3", **os.environ}
    environ["DLBS_VERSION"] = __version__
    return Processor(config.declarations, environ, config.varying_names())


def resolved_plan(
    config: Config, plan: str | None, *, order: str = "plan", seed: int = 0, **overrides: Any
) -> Callable[[], Iterator[Experiment]]:
    """Return a function that iterates over the resolved plan: plans are streams.

    Args:
        config: Makes the plan, or only declares the parameters of a given one.
        plan: A plan file. `-P` also applies to its experiments.
        order: The order, and the seed of a random one.
        overrides: Values that override all others.

    Raises:
        ConfigError: The configuration contains something that would have no effect on the given plan.
    """
    raw = _raw(config, plan)

    def experiments() -> Iterator[Experiment]:
        changed = ({**one, **overrides} for one in raw()) if overrides else raw()
        return resolved_in_order(config, changed, order, seed)

    return experiments


def planned_and_ordered(
    config: Config, plan: str | None, *, order: str, seed: int, **overrides: Any
) -> tuple[Callable[[], Iterator[Experiment]], Callable[[], Iterator[Experiment]]]:
    """Return two functions that iterate over the same resolved experiments: in the plan's order, and in that of execution.

    The arguments are those of `resolved_plan`. Values that differ each time are computed once, and so are those of a small plan.
    """
    planned = resolved_plan(config, plan, **overrides)
    again = resolved_plan(config, plan, order=order, seed=seed, **overrides)
    is_volatile = _is_volatile(config, plan)
    held: list[Experiment] = []  # all of them, once they are complete

    def first() -> Iterator[Experiment]:
        if is_volatile and not held:
            held.extend(planned())
        return iter(held) if held else passing()

    def passing() -> Iterator[Experiment]:
        few: list[Experiment] = []
        for experiment in planned():
            if len(few) <= _FEW:
                few.append(experiment)
            yield experiment
        if len(few) <= _FEW:
            held.extend(few)

    def second() -> Iterator[Experiment]:
        return ordered(first(), order, seed) if is_volatile or held else again()

    return first, second


def _is_volatile(config: Config, plan: str | None) -> bool:
    """Whether values of a plan may differ each time they are computed; true for any text that names such a function."""
    if plan is not None:
        from dlbs.plan.files import plan_contains

        return plan_contains(plan, VOLATILE) or _names_volatile(config.parameters())
    parts = [[one.parameters, one.cases] for one in config.extensions]
    return _names_volatile([config.parameters(), config.variables, parts])


def _names_volatile(values: Any) -> bool:
    words = json.dumps(values)
    return any(name in words for name in VOLATILE)


def resolved_in_order(config: Config, raw: Iterable[Experiment], order: str, seed: int) -> Iterator[Experiment]:
    """Resolve raw experiments in one of `ORDERS`."""
    processor = processor_for(config)
    experiments: Iterable[Experiment] = ordered(raw, order, seed)
    if order == "random":
        experiments = list(experiments)
        processor.expect_random_order(experiments)
    return processor.resolve_all(experiments)


def unlabelled_names(config: Config, plan: str | None) -> set[str]:
    """Parameters that labels of experiments omit: those outside the identity, or computed from others.

    Args:
        config: Makes the plan, or only declares its parameters.
        plan: A plan file.
    """
    computed = {
        name for name in config.known_names() - config.varied_names() if all(map(_refers, values_of(config, name)))
    }
    if plan is not None:
        own = next(Saved(config, plan).as_written(), {})
        raw = {name for name, value in own.items() if _refers(value)}
        computed = raw or computed  # a resolved plan contains only final values
    return computed | {name for name, parameter in config.declarations.items() if not parameter.identity}


def _refers(value: Any) -> bool:
    words = value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list)) else ""
    return any(mark in words for mark in ("${", "$<"))


def _raw(config: Config, plan: str | None) -> Callable[[], Iterator[Experiment]]:
    """Return a function that iterates over the raw experiments of a configuration, or over those of a plan file.

    Raises:
        ConfigError: The configuration contains something that would have no effect on the given plan.
    """
    if plan is not None:
        return Saved(config, plan).__iter__
    from dlbs.plan.build import Carried, build

    carried = Carried(config)
    return lambda: build(config, carried)


class Repeats:
    """The experiments of a plan, with any number of repeats of each, equal to those of `exp.repeats`.

    Args:
        config: Makes the plan, or only declares the parameters of a given one.
        plan: A plan file. `-P` also applies to its experiments.

    Raises:
        ConfigError: `exp.repeats` is set, or two runs would write to the same log.
    """

    def __init__(self, config: Config, plan: str | None = None) -> None:
        self._processor = processor_for(config)
        self._raw: list[Experiment] = []
        logs: set[str] = set()
        self._drawn: dict[tuple[int, int], Experiment] | None = {} if _is_volatile(config, plan) else None
        for raw in _raw(config, plan)():
            if str(raw.get("exp.repeats") or 1) not in {"1", "1.0"}:
                setting = config.settings.get("exp.repeats")
                given = plan is None or "exp.repeats" in config.from_command_line
                remedy = "remove it, or override it with -Pexp.repeats=1" if given else "build the plan without it"
                raise ConfigError(
                    "exp.repeats must be 1, because --until-known determines the number of repeats",
                    where=setting.where if setting and given else plan or "",
                    hint=f"{remedy}; --max-repeats limits the repeats",
                )
            self._raw.append(raw)
            first, second = (self.experiment(len(self._raw) - 1, repeat) for repeat in (1, 2))
            if first.get("exp.status") in {"inactive", "simulate"}:
                self._raw.pop()
                self._drawn = (
                    None
                    if self._drawn is None
                    else {key: one for key, one in self._drawn.items() if key[0] < len(self._raw)}
                )
                continue
            log = str(first["exp.log_file"])
            if log == second["exp.log_file"]:
                raise ConfigError(
                    f"all repeats of an experiment would write to the same log file: {log}",
                    where="exp.log_file",
                    hint="add ${exp.id} to exp.log_file; write a plan without --resolve",
                )
            if log in logs:
                raise ConfigError(
                    f"two experiments would write to the same log file: {log}",
                    where="exp.log_file",
                    hint="add a parameter that differs, or ${exp.id}, to exp.log_file",
                )
            logs.add(log)

    def __len__(self) -> int:
        return len(self._raw)

    def experiment(self, number: int, repeat: int) -> Experiment:
        """Experiment `number`, from 0, resolved for one repeat, from 1."""
        if self._drawn is None:
            return self._processor.resolve({**self._raw[number], "exp.repeat": repeat})
        found = self._drawn.get((number, repeat))
        if found is None:
            found = self._drawn[number, repeat] = self._processor.resolve({**self._raw[number], "exp.repeat": repeat})
        return found
