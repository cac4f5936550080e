"""The verbs on plans: build, validate, print-config, explain, help."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from dlbs.cli.as_json import json_option, print_json
from dlbs.cli.complete import complete_help
from dlbs.cli.options import (
    CONTEXT,
    CommandVerb,
    LazyGroup,
    common_options,
    config_options,
    executor_option,
    names_option,
    nodes_option,
    plan_option,
)
from dlbs.errors import ConfigError, did_you_mean
from dlbs.exit_codes import OK, WRONG_INPUT

if TYPE_CHECKING:
    from dlbs.config.config import Config
    from dlbs.experiment import Experiment
from dlbs.text import printable

__all__ = ["build_command", "explain_command", "help_command", "print_config_command", "validate_command"]


@click.command("build", cls=CommandVerb, context_settings=CONTEXT)
@click.option(
    "--plan",
    "output",
    metavar="FILE",
    help="Output file for the plan: .json or .jsonl, optionally .gz; standard output by default.",
)
@click.option("--resolve", is_flag=True, help="Write final values instead of references and expressions.")
@config_options
@common_options
def build_command(config: Config, output: str | None, resolve: bool) -> None:
    """Write the plan that a configuration expands to: a list of experiments.

    \b
    Examples:
      dlbs build --plan plan.json -Vexp.model=[alexnet,resnet18] \\
        -Vexp.replica_batch=[1,2,4]
      dlbs build --resolve --plan plan.jsonl --config plan.yaml
    """
    from dlbs.language.template import escape
    from dlbs.plan.build import build
    from dlbs.plan.files import write_plan

    experiments: Iterable[Experiment] = build(config)
    if resolve:
        from dlbs.plan.pipeline import processor_for

        # A resolved plan is a plan too: text that looks like a reference in a final value is escaped.
        experiments = map(escape, processor_for(config).resolve_all(experiments))
    if output is None:
        _print_plan(experiments)
        return
    count = write_plan(output, experiments)
    click.echo(printable(f"{count} experiment{'s' if count != 1 else ''} in {output}"), err=True)


def _print_plan(experiments: Iterable[Experiment]) -> None:
    """Print a JSON list one experiment at a time: a plan may be larger than the memory."""
    import json

    from dlbs.plan.files import check_encoding

    out = sys.stdout
    before = "[\n "  # printed with the first experiment, which may raise an error
    for experiment in experiments:
        words = json.dumps(experiment, indent=1)
        if "\\ud" in words:
            check_encoding(experiment)
        out.write(before + words.replace("\n", "\n "))
        before = ",\n "
    out.write("[]\n" if before[0] == "[" else "\n]\n")


@click.command("validate", cls=CommandVerb, context_settings=CONTEXT)
@plan_option("Validate this plan instead of building one.")
@executor_option("Executor that will run the experiments; adds its own checks.")
@nodes_option
@click.option(
    "--results",
    metavar="PATH",
    multiple=True,
    help="Check instead whether each experiment of the plan has results. Logs, directories or results files.",
)
@names_option("--require", "With --results: keys that each experiment must have; by default a time or a throughput.")
@json_option
@config_options
@common_options
def validate_command(
    config: Config,
    plan: str | None,
    executor: str,
    nodes: list[str],
    results: tuple[str, ...],
    require: list[str],
    as_json: bool,
) -> int:
    """Find all problems at once, without running anything. With --results, find missing results after a run.

    Results are complete if each experiment succeeded, has a time or a throughput and a unique exp.id, and no experiment of the plan is
    missing. The plan is --plan, or the one that ran last in a log directory. The exit code is 1 if something is missing.

    \b
    Examples:
      dlbs validate --config plan.yaml
      dlbs validate --plan plan.json
      dlbs validate --executor slurm --config plan.yaml
      dlbs validate --nodes host1,host2 -Pexp.docker=false
      dlbs validate --results logs --require results.throughput,results.energy
      dlbs validate --plan plan.json --results results.json
      dlbs validate --plan plan.json --json
    """
    from dlbs.errors import ConfigError

    if results:
        from dlbs.cli.completeness import print_gaps

        return print_gaps(config, plan, results, require, as_json=as_json)
    if require:
        raise ConfigError("requires --results PATH", where="--require", hint="add it, or remove --require")
    from pathlib import Path

    from dlbs.executors.registry import load_executor
    from dlbs.plan.pipeline import resolved_plan
    from dlbs.run.validate import Validator

    validator = Validator(load_executor(executor)(Path.cwd()), nodes=nodes)
    validator.check_all(resolved_plan(config, plan)())
    if as_json:
        print_json(validator.document())
        return WRONG_INPUT if validator.problems else OK
    validator.raise_problems()
    click.echo(f"{validator.count} experiment{'s' if validator.count != 1 else ''}, no problems found")
    return OK


@click.command("print-config", cls=CommandVerb, context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Print JSON that --config reads.")
@config_options
@common_options
def print_config_command(config: Config, as_json: bool) -> None:
    """Show the merged configuration and where each value was set.

    \b
    Examples:
      dlbs print-config -Pexp.model=resnet18
      dlbs print-config --json --config plan.yaml > merged.json
    """
    import json

    from dlbs.plan.files import check_encoding

    if as_json:
        document: dict[str, Any] = {
            "frameworks": {name: list(others) for name, others in config.builds_on.items()},
            "parameters": {name: _declared(config, name) for name in config.settings},
            "variables": config.variables,
            "extensions": [
                {"condition": one.condition, "parameters": one.parameters, "cases": one.cases}
                for one in config.extensions
            ],
            "exclude": [one.condition for one in config.exclude],
        }
        words = json.dumps(document, indent=1)
        if "\\ud" in words:
            sections = {name: document[name] for name in ("extensions", "exclude")}
            check_encoding({**document["parameters"], **config.variables, **sections}, "JSON", "write it in UTF-8")
        click.echo(words)
        return
    for name, setting in config.settings.items():
        click.echo(f"{name} = {json.dumps(setting.value)}    # {printable(setting.where)}")
    for key, values in config.variables.items():
        click.echo(f"{key} in {json.dumps(values)}    # {printable(config.variable_origins[key])}")
    for extension in config.extensions:
        click.echo(
            f"if {json.dumps(extension.condition)}: {json.dumps(extension.parameters)}    # {printable(extension.where)}"
        )
    for excluded in config.exclude:
        click.echo(f"exclude {json.dumps(excluded.condition)}    # {printable(excluded.where)}")


def _declared(config: Config, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"val": config.settings[name].value, "frameworks": []}
    parameter = config.declarations.get(name)
    if parameter is not None:
        made.update(
            type=parameter.type, desc=parameter.desc, identity=parameter.identity, frameworks=list(parameter.frameworks)
        )
        if parameter.domain is not None:
            made["val_domain"] = list(parameter.domain)
        if parameter.regexp:
            made["val_regexp"] = parameter.regexp
        if parameter.option_in:
            made["option_in"] = parameter.option_in
        if parameter.phases:
            made["phases"] = list(parameter.phases)
        if parameter.follows:
            made["follows"] = parameter.follows
        if parameter.alternatives:
            made["val_else"] = list(parameter.alternatives)
    return made


@click.command("explain", cls=CommandVerb, context_settings=CONTEXT)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
@config_options
@common_options
def explain_command(config: Config, names: tuple[str, ...], as_json: bool) -> None:
    """Show a parameter's value, where it was set, and what it was computed from, for the plan's first experiment.

    \b
    Examples:
      dlbs explain exp.effective_batch -Pexp.gpus=0,1
      dlbs explain pytorch.options exp.log_file
      dlbs explain exp.log_file --json
    """
    from dlbs.plan.descriptions import explanation_document
    from dlbs.plan.explain import explanation

    if as_json:
        print_json([explanation_document(config, name) for name in names])
        return
    for name in names:
        click.echo(printable("\n".join(explanation(config, name))))


@click.command("help", context_settings=CONTEXT)
@click.argument("names", metavar="[PARAMETER|KEY|PATTERN|FRAMEWORK|MODEL]...", nargs=-1, shell_complete=complete_help)
@click.option("--frameworks", is_flag=True, help="List frameworks and their launchers, or describe the named one.")
@click.option("--models", is_flag=True, help="List the models of pytorch_benchmarks.")
@json_option
@config_options
@common_options
def help_command(config: Config, names: tuple[str, ...], frameworks: bool, models: bool, as_json: bool) -> None:
    """Describe parameters by name, regular expression or word; also result keys, models and frameworks.

    \b
    Examples:
      dlbs help exp.replica_batch
      dlbs help 'exp.num_.*'
      dlbs help --frameworks pytorch
      dlbs help exp.dtype exp.phase resnet18
      dlbs help results.throughput 'results.time.*'
      dlbs help --models --json
    """
    from dlbs.plan.explain import describe_framework, describe_frameworks, describe_models

    if frameworks:
        found = [describe_framework(config, name) for name in names] or [describe_frameworks(config)]
    elif models:
        found = [describe_models(names)]
    elif not names and not as_json:
        click.echo(click.get_current_context().find_root().get_help())
        return
    else:
        found = [_described(config, name) for name in names]
    if as_json:
        print_json(_help_document(config, names, frameworks, models))
        return
    click.echo(printable("\n\n".join("\n".join(lines) for lines in found)))


def _help_document(config: Config, names: tuple[str, ...], frameworks: bool, models: bool) -> list[dict[str, Any]]:
    """The output of `dlbs help` as a list of documents; the names must exist."""
    from dlbs.plan.descriptions import framework_document, models_document
    from dlbs.plan.explain import framework_launchers

    if frameworks:
        return [framework_document(config, name) for name in names or framework_launchers(config)]
    if models:
        return models_document(names)
    if not names:
        return [_verb_document(verb) for verb in _verbs()]
    return [document for name in names for document in _documents(config, name)]


def _verbs() -> dict[str, tuple[str, str]]:
    root = click.get_current_context().find_root()
    return root.command.verbs if isinstance(root.command, LazyGroup) else {}


def _verb_document(name: str) -> dict[str, Any]:
    """The document about a verb; empty if there is no such verb."""
    verbs = _verbs()
    return {"kind": "verb", "name": name, "description": verbs[name][1]} if name in verbs else {}


def _described(config: Config, name: str) -> list[str]:
    """The output of `dlbs help NAME` for a parameter, model or framework, or for keys of results that match a pattern.

    Raises:
        ConfigError: The name is unknown.
    """
    from dlbs.plan.explain import describe, framework_launchers
    from dlbs.results.key_table import describe_keys, known_keys

    verb = _verb_document(name)
    if verb and name not in config.declarations and name not in framework_launchers(config):
        return [f"{name} is a verb: {verb['description']}", f"  dlbs {name} --help describes it"]
    keys = [] if name in config.declarations else describe_keys(name)
    try:
        described = describe(config, name)
    except ConfigError as error:
        if keys:
            return keys
        close = did_you_mean(name, known_keys()) if name.startswith("results.") else ""
        raise ConfigError(error.what, hint=close or error.hint) from None
    if f"results.{name}" in known_keys():
        return [*keys, "", *described]
    return [*described, "", *keys] if keys else described


def _documents(config: Config, name: str) -> list[dict[str, Any]]:
    """As `_described`, but as documents."""
    from dlbs.plan.descriptions import description
    from dlbs.plan.explain import framework_launchers
    from dlbs.results.key_table import key_documents

    verb = _verb_document(name)
    if verb and name not in config.declarations and name not in framework_launchers(config):
        return [verb]
    keys = [] if name in config.declarations else key_documents(name)
    try:
        return [*description(config, name), *keys]
    except ConfigError:
        if keys:
            return keys
        raise
