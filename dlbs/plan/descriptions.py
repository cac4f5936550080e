"""The output of `dlbs explain` and `dlbs help` as JSON documents."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dlbs.config.config import Config
from dlbs.config.declarations import Parameter
from dlbs.config.models import known_models
from dlbs.doubts import describe_doubts
from dlbs.plan.explain import asked_trace, describe, find_parameters, framework_launchers
from dlbs.plan.trace import IDENTITY

__all__ = ["description", "explanation_document", "framework_document", "models_document"]


def explanation_document(config: Config, name: str) -> dict[str, Any]:
    """A parameter's value in the plan's first experiment, and all parameters that it was computed from, directly or indirectly.

    Raises:
        ConfigError: The parameter does not exist, or the plan is empty.
    """
    experiment, origins, trace = asked_trace(config, name)
    parameters: dict[str, Any] = {}
    todo = [name]
    while todo:
        one = todo.pop()
        if one in parameters:
            continue
        needs = [*trace.needs.get(one, []), *trace.environment.get(one, [])]
        if one == IDENTITY:
            parameters[one] = {"value": trace.values[one], "kind": "digest"}
        elif one not in experiment:
            parameters[one] = {"kind": "environment variable"}
        elif one.startswith("__"):
            parameters[one] = {"value": trace.values[one], "kind": "matched by a condition"}
        else:
            parameters[one] = {
                "value": trace.values[one],
                "kind": "parameter",
                "written": experiment[one],
                "set_at": origins[one],
                "needs": needs,
            }
            todo += reversed(needs)
    declared = config.declarations.get(name)
    return {"name": name, "description": declared.desc if declared else "", "parameters": parameters}


def description(config: Config, name: str) -> list[dict[str, Any]]:
    """The documents for `dlbs help NAME`: parameters, a model, a framework, or kinds of warnings.

    Raises:
        ConfigError: The name is unknown.
    """
    lines = describe(config, name)  # determines the meaning of the name, and rejects unknown names
    models = known_models()
    if name in models and name not in config.declarations:
        return models_document([name])
    if name in framework_launchers(config):
        return [framework_document(config, name)]
    if name not in config.declarations and describe_doubts(name):
        return [{"kind": "warning", "name": name, "description": lines}]
    return [_parameter(config, parameter) for parameter in find_parameters(config, name)]


def framework_document(config: Config, name: str) -> dict[str, Any]:
    """A framework with its launcher and its own parameters; the name must be one of `framework_launchers`."""
    own = [parameter for one, parameter in config.declarations.items() if one.startswith(f"{name}.")]
    launcher = framework_launchers(config)[name]
    return {
        "kind": "framework",
        "name": name,
        "launcher": launcher,
        "parameters": [_parameter(config, one) for one in own],
    }


def models_document(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Models of pytorch_benchmarks: those named, which must exist, or all."""
    models = known_models()
    return [{"kind": "model", "name": name, "description": models[name]} for name in names or models]


def _parameter(config: Config, parameter: Parameter) -> dict[str, Any]:
    setting = config.settings.get(parameter.name)
    return {
        "kind": "parameter", "name": parameter.name, "type": parameter.type, "description": parameter.desc,
        "domain": None if parameter.domain is None else list(parameter.domain), "regexp": parameter.regexp or None,
        "value": setting.value if setting else None, "set_at": setting.where if setting else None,
    }  # fmt: skip
