"""The text output of `dlbs explain` and `dlbs help`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Iterator

from dlbs.config.config import Config
from dlbs.config.declarations import Parameter
from dlbs.config.migration import framework_hint, migration_hint
from dlbs.doubts import describe_doubts
from dlbs.errors import ConfigError, did_you_mean
from dlbs.experiment import Experiment, as_written
from dlbs.files import dlbs_root
from dlbs.language.patterns import compiled
from dlbs.plan.build import first_with_origins
from dlbs.plan.pipeline import processor_for
from dlbs.plan.trace import IDENTITY, Trace

__all__ = [
    "asked_trace", "describe", "describe_framework", "describe_frameworks", "describe_models", "describe_parameters", "explanation",
    "find_parameters", "framework_launchers",
]  # fmt: skip


_WIDTH = 79  # characters of a line of text


def asked_trace(config: Config, name: str) -> tuple[Experiment, dict[str, str], Trace]:
    """The plan's first raw experiment, the place where each parameter was set, and how its values were computed.

    Raises:
        ConfigError: The experiment has no parameter of this name, or the plan is empty.
    """
    experiment, origins = first_with_origins(config)
    if name not in experiment and name in config.declarations:
        framework = experiment.get("exp.framework")
        raise ConfigError(
            f"{name} is not a parameter of experiments of the framework {framework}", hint=f"dlbs help {name}"
        )
    if name not in experiment:
        hint = migration_hint(name) or did_you_mean(name, experiment) or "dlbs help PATTERN searches parameters"
        raise ConfigError(f"no parameter {name!r}", hint=hint)
    return experiment, origins, processor_for(config).tracer.trace(experiment)


def explanation(config: Config, name: str) -> list[str]:
    """Describe a parameter's final value in the plan's first experiment, and the tree of values that it was computed from.

    Raises:
        ConfigError: The parameter does not exist, or the plan is empty.
    """
    experiment, origins, trace = asked_trace(config, name)
    lines = []
    parameter = config.declarations.get(name)
    if parameter is not None and parameter.desc:
        lines.append(f"{name} = {json.dumps(trace.values[name])}")
        lines += textwrap.wrap(parameter.desc, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    lines += _tree(experiment, origins, trace, name)
    return lines


def _tree(experiment: Experiment, origins: dict[str, str], trace: Trace, root: str) -> Iterator[str]:
    """Lines for a parameter and its dependencies, depth first; without recursion, since chains may be long."""
    shown: set[str] = set()
    todo = [(root, 0)]
    while todo:
        name, depth = todo.pop()
        indent = "  " * depth
        if name == IDENTITY:
            yield f"{indent}{json.dumps(trace.values[name])}  (digest of the experiment's identity)"
            continue
        if name not in experiment:
            yield f"{indent}{name}  (environment variable)"
            continue
        raw, value = experiment[name], trace.values[name]
        if name.startswith("__"):
            yield f"{indent}{json.dumps(value)}  (matched by a condition)"
            continue
        written = "" if raw == value else f"  from {as_written(json.dumps(raw))}"
        yield f"{indent}{name} = {json.dumps(value)}{written}  (set at {origins[name]})"
        if name not in shown:
            shown.add(name)
            needs = [*trace.needs.get(name, []), *trace.environment.get(name, [])]
            todo += [(need, depth + 1) for need in reversed(needs)]


def describe(config: Config, name: str) -> list[str]:
    """Describe the parameter, model, framework or kind of warning of this name, or else the parameters that match it as a pattern or word.

    Raises:
        ConfigError: The name is unknown.
    """
    from dlbs.config.models import known_models

    models, launchers = known_models(), framework_launchers(config)
    if name in models and name not in config.declarations:
        return [
            f"{name} is a model: {models[name]}",
            f"  dlbs run -Pexp.model={name} -Pexp.docker=false; dlbs help --models lists all",
        ]
    if name in launchers:
        return describe_framework(config, name)
    doubts = describe_doubts(name)
    if doubts and name not in config.declarations:
        return [*doubts, *_parameters_with(config, name)]
    try:
        return describe_parameters(config, name)
    except ConfigError as error:
        close = did_you_mean(name, [*config.declarations, *models, *launchers])
        hint = f"{close or error.hint}; dlbs help --models and dlbs help --frameworks list them"
        hint = migration_hint(name) or framework_hint(name) or hint
        raise ConfigError(f"unknown name {name!r}", hint=hint) from None


def _parameters_with(config: Config, word: str) -> list[str]:
    """A line that lists the parameters with a word in their name; none if there is no such parameter."""
    found = [name for name in config.declarations if word.lower().replace("-", "") in name.rpartition(".")[2]]
    return textwrap.wrap(f"Parameters: {', '.join(found)}", _WIDTH, subsequent_indent="  ") if found else []


def describe_parameters(config: Config, pattern: str) -> list[str]:
    """Describe the parameters whose name is `pattern` or matches it, or whose description contains it.

    Raises:
        ConfigError: No parameter matches.
    """
    lines: list[str] = []
    for parameter in find_parameters(config, pattern):
        lines += [*_description(config, parameter), ""]
    return lines[:-1]


def find_parameters(config: Config, pattern: str) -> list[Parameter]:
    """The parameter of this name; otherwise those whose name matches; otherwise those with the word in their name or description.

    Raises:
        ConfigError: No parameter matches.
    """
    declarations = config.declarations
    if pattern in declarations:
        return [declarations[pattern]]
    expression = compiled(pattern)
    found = [parameter for name, parameter in declarations.items() if expression.fullmatch(name)]
    if not found:
        word = pattern.lower()
        found = [parameter for name, parameter in declarations.items() if word in f"{name} {parameter.desc}".lower()]
    if not found:
        raise ConfigError(
            f"no parameter {pattern!r}", hint=did_you_mean(pattern, declarations) or "try a word or exp.*"
        )
    return found


def _description(config: Config, parameter: Parameter) -> Iterator[str]:
    yield parameter.name
    yield from textwrap.wrap(parameter.desc or "No description.", _WIDTH, initial_indent="  ", subsequent_indent="  ")
    yield f"  type: {parameter.type}"
    if parameter.domain is not None:
        yield f"  one of: {', '.join(json.dumps(value) for value in parameter.domain)}"
    if parameter.regexp:
        yield f"  matches: {parameter.regexp}"
    if parameter.name in config.settings:
        setting = config.settings[parameter.name]
        yield f"  value: {json.dumps(setting.value)}  (set at {setting.where})"


def describe_framework(config: Config, name: str) -> list[str]:
    """Describe a framework: its launcher, and its own parameters.

    Raises:
        ConfigError: The framework does not exist.
    """
    launchers = framework_launchers(config)
    if name not in launchers:
        close = framework_hint(name) or did_you_mean(name, launchers)
        hint = close or f"known are {', '.join(launchers)}; docs/launchers.md describes how to add one"
        raise ConfigError(f"no framework {name!r}", hint=hint)
    own = [parameter for one, parameter in config.declarations.items() if one.startswith(f"{name}.")]
    lines = [f"{name}: {launchers[name]}", ""]
    for parameter in own:
        lines += [*_description(config, parameter), ""]
    return lines[:-1]


def describe_frameworks(config: Config) -> list[str]:
    """The frameworks that have a launcher."""
    return [f"{name:12} {path}" for name, path in framework_launchers(config).items()]


def framework_launchers(config: Config) -> dict[str, str]:
    """Map each framework to its launcher."""
    launchers = {
        path.stem: str(path)
        for path in sorted((dlbs_root() / "scripts" / "launchers").glob("*.sh"))
        if path.stem not in {"base", "docker_run", "executable", "pytorch_run"}
    }
    for name, setting in config.settings.items():
        if name.endswith(".launcher") and name.count(".") == 1 and name.split(".")[0] not in {"runtime"}:
            launchers.setdefault(name.split(".")[0], str(setting.value))
    return launchers


def describe_models(names: Collection[str] = ()) -> list[str]:
    """List the models of pytorch_benchmarks, or those named.

    Raises:
        ConfigError: The model does not exist.
    """
    from dlbs.config.models import known_models

    models = known_models()
    for name in names:
        if name not in models:
            raise ConfigError(
                f"no model {name!r}", hint=did_you_mean(name, models) or "dlbs help --models lists all models"
            )
    return [f"{name:16} {models[name]}" for name in names or models]
