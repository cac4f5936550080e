"""`dlbs explain` and `dlbs help`: documents about values, parameters, models, frameworks and warnings, and their text."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from dlbs.config.config import Config
from dlbs.config.declarations import Parameter
from dlbs.config.names import former_hint, framework_hint, known_models, meant_by, name_hint
from dlbs.core.doubts import describe_doubts
from dlbs.core.errors import ConfigError, did_you_mean
from dlbs.core.experiment import as_written
from dlbs.core.files import dlbs_root
from dlbs.language.patterns import compiled
from dlbs.plan.build import first_with_origins
from dlbs.plan.pipeline import Saved, processor_for
from dlbs.plan.resolve import IDENTITY

Document = dict[str, Any]

_WIDTH = 79  # characters of a line of text


def explained(config: Config, name: str, plan: str | None = None) -> Document:
    """A parameter's value in the plan's first experiment, and all parameters that it was computed from, directly or indirectly.

    Raises:
        ConfigError: The experiment has no parameter of this name, or the plan is empty.
    """
    if plan is None:
        experiment, origins = first_with_origins(config)
    else:  # a file of experiments
        experiment = next(iter(Saved(config, plan)), {})
        given = {one: config.origin(one) for one in config.from_command_line}
        origins = {**dict.fromkeys(experiment, f"{plan}: experiment 1"), **given}
    if name not in experiment and name in config.declarations:
        framework = experiment.get("exp.framework")
        raise ConfigError(
            f"{name} is not a parameter of experiments of the framework {framework}", hint=f"dlbs help {name}"
        )
    if name not in experiment:
        hint = name_hint(name, experiment) or "dlbs help PATTERN searches parameters"
        raise ConfigError(f"no parameter {name!r}", hint=hint)
    trace = processor_for(config).tracer.trace(experiment)
    parameters: dict[str, Any] = {}
    todo = [name]
    while todo:
        one = todo.pop()
        if one in parameters:
            continue
        if one == IDENTITY:
            parameters[one] = {"value": trace.values[one], "kind": "digest"}
        elif one not in experiment:
            parameters[one] = {"kind": "environment variable"}
        elif one.startswith("__"):
            parameters[one] = {"value": trace.values[one], "kind": "matched by a condition"}
        else:
            needs = [*trace.needs.get(one, []), *trace.environment.get(one, [])]
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


def tree(document: Document) -> Iterator[str]:
    """The text of `explained`: the value, and the tree of values that it was computed from."""
    parameters, root = document["parameters"], document["name"]
    if document["description"]:
        yield f"{root} = {json.dumps(parameters[root]['value'])}"
        yield from _wrapped(document["description"])
    shown: set[str] = set()
    todo = [(root, 0)]  # depth first; without recursion, since chains may be long
    while todo:
        name, depth = todo.pop()
        one, indent = parameters[name], "  " * depth
        if one["kind"] == "digest":
            yield f"{indent}{json.dumps(one['value'])}  (digest of the experiment's identity)"
        elif one["kind"] == "environment variable":
            yield f"{indent}{name}  (environment variable)"
        elif one["kind"] == "matched by a condition":
            yield f"{indent}{json.dumps(one['value'])}  (matched by a condition)"
        else:
            written = "" if one["written"] == one["value"] else f"  from {as_written(json.dumps(one['written']))}"
            yield f"{indent}{name} = {json.dumps(one['value'])}{written}  (set at {one['set_at']})"
            if name not in shown:
                shown.add(name)
                todo += [(need, depth + 1) for need in reversed(one["needs"])]


def described(config: Config, name: str) -> list[Document]:
    """The parameter, model, framework or kind of warning of this name, or else the parameters that match it as a pattern or word.

    Raises:
        ConfigError: The name is unknown.
    """
    models, launchers = known_models(), framework_launchers(config)
    if name in models and name not in config.declarations:
        return described_models([name])
    if name in launchers:
        return [described_framework(config, name)]
    doubts = describe_doubts(name)
    if doubts and name not in config.declarations:
        word = name.lower().replace("-", "")
        names = [one for one in config.declarations if word in one.rpartition(".")[2]]
        return [{"kind": "warning", "name": name, "description": doubts, "parameters": names}]
    found = list(_found(config.declarations, name))
    if not found:
        known = [*config.declarations, *models, *launchers]
        close = did_you_mean(name, known) or "try a word or exp.*"
        hint = f"{close}; dlbs help --models and dlbs help --frameworks list them"
        raise ConfigError(f"unknown name {name!r}", hint=former_hint(name) or framework_hint(name) or hint)
    return [_parameter(config, one) for one in found]


def _found(declarations: dict[str, Parameter], pattern: str) -> Iterable[Parameter]:
    """The parameter of this name; otherwise those whose name matches; otherwise those with the word in their name or description."""
    if pattern in declarations:
        return [declarations[pattern]]
    expression, word = compiled(pattern), pattern.lower()
    ours = declarations.get(meant_by(word))
    return [one for name, one in declarations.items() if expression.fullmatch(name)] or [
        *([ours] if ours else []),
        *(one for name, one in declarations.items() if word in f"{name} {one.desc}".lower() and one is not ours),
    ]


def described_framework(config: Config, name: str) -> Document:
    """A framework with its launcher and its own parameters.

    Raises:
        ConfigError: The framework does not exist.
    """
    launchers = framework_launchers(config)
    if name not in launchers:
        close = framework_hint(name) or did_you_mean(name, launchers)
        hint = close or f"known are {', '.join(launchers)}; docs/launchers.md describes how to add one"
        raise ConfigError(f"no framework {name!r}", hint=hint)
    own = [_parameter(config, one) for one in config.declarations.values() if one.name.startswith(f"{name}.")]
    return {"kind": "framework", "name": name, "launcher": launchers[name], "parameters": own}


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


def described_models(names: Collection[str] = ()) -> list[Document]:
    """The models of pytorch_benchmarks, or those named.

    Raises:
        ConfigError: The model does not exist.
    """
    models = known_models()
    for name in names:
        if name not in models:
            hint = did_you_mean(name, models) or "dlbs help --models lists all models"
            raise ConfigError(f"no model {name!r}", hint=hint)
    return [{"kind": "model", "name": name, "description": models[name]} for name in names or models]


def _parameter(config: Config, parameter: Parameter) -> Document:
    setting = config.settings.get(parameter.name)
    return {
        "kind": "parameter", "name": parameter.name, "type": parameter.type, "description": parameter.desc,
        "domain": None if parameter.domain is None else list(parameter.domain), "regexp": parameter.regexp or None,
        "value": setting.value if setting else None, "set_at": setting.where if setting else None,
    }  # fmt: skip


def listed(documents: Iterable[Document]) -> list[str]:
    """A line for each model or framework."""
    return [
        f"{one['name']:16} {one['description']}" if one["kind"] == "model" else f"{one['name']:12} {one['launcher']}"
        for one in documents
    ]


def lines(documents: Iterable[Document]) -> list[str]:
    """The text of documents, with an empty line between them."""
    made: list[str] = []
    for document in documents:
        made += [*_lines(document), ""]
    return made[:-1]


def _lines(document: Document) -> Iterator[str]:
    kind, name = document["kind"], document["name"]
    if kind == "model":
        yield f"{name} is a model: {document['description']}"
        yield f"  dlbs run -Pexp.model={name} -Pexp.docker=false; dlbs help --models lists all"
    elif kind == "verb":
        yield f"{name} is a verb: {document['description']}"
        yield f"  dlbs {name} --help describes it"
    elif kind == "framework":
        yield f"{name}: {document['launcher']}"
        yield from ["", *lines(document["parameters"])] if document["parameters"] else []
    elif kind == "warning":
        yield from document["description"]
        if document["parameters"]:
            yield from textwrap.wrap(f"Parameters: {', '.join(document['parameters'])}", _WIDTH, subsequent_indent="  ")
    else:
        yield name
        yield from _wrapped(document["description"] or "No description.")
        yield from _facts(document)


def _facts(document: Document) -> Iterator[str]:
    """The lines below the description of a parameter or of a key of results."""
    for key in ("type", "unit", "better"):
        if document.get(key):
            yield f"  {key}: {document[key]}"
    if document.get("domain") is not None:
        yield f"  one of: {', '.join(map(json.dumps, document['domain']))}"
    if document.get("regexp"):
        yield f"  matches: {document['regexp']}"
    if document.get("set_at"):
        yield f"  value: {json.dumps(document['value'])}  (set at {document['set_at']})"


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, _WIDTH, initial_indent="  ", subsequent_indent="  ")
