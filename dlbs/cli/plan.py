"""The verbs on plans: build, validate, print-config, explain, help, migrate."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from benchmark_core.exits import FAILED, OK, WRONG_INPUT
from benchmark_core.text import printable
from dlbs.cli.options import (
    Group,
    completed,
    executor_option,
    json_option,
    names_option,
    nodes_option,
    plan_options,
    print_json,
    verb,
)
from dlbs.cli.streams import note
from dlbs.core.errors import ConfigError, did_you_mean
from dlbs.core.text import counted, text

if TYPE_CHECKING:
    from dlbs.config.config import Config
    from dlbs.core.experiment import Experiment


@verb("build", takes_command=True)
@click.option(
    "-o",
    "--output-file",
    metavar="FILE",
    help="Output file: .json or .jsonl, optionally .gz; standard output by default, or for -.",
)
@click.option("--resolve", is_flag=True, help="Write final values instead of references and expressions.")
@plan_options
def build_command(config: Config, plan: str | None, output_file: str | None, resolve: bool) -> None:
    """Write the experiments that a plan expands to, as a list that --plan reads.

    An existing file is replaced only if it is such a list.

    \b
    Examples:
      dlbs build -o plan.json -Vexp.model=alexnet,resnet18 \\
        -Vexp.replica_batch=1,2,4
      dlbs build --resolve --plan plan.yaml -o plan.jsonl
    """
    from dlbs.plan.build import build
    from dlbs.plan.files import check_output, write_plan

    if output_file not in (None, "-"):
        if not output_file:
            raise ConfigError("the name of the file is empty", where="-o", hint="-o - writes to standard output")
        check_output(output_file)
    experiments: Iterable[Experiment] = build(config)
    if plan is not None:
        from dlbs.plan.pipeline import Saved

        experiments = Saved(config, plan)
    if resolve:
        from dlbs.language.template import escape
        from dlbs.plan.pipeline import processor_for

        # A resolved plan is a plan too: text that looks like a reference in a final value is escaped.
        experiments = map(escape, processor_for(config).resolve_all(experiments))
    if output_file in (None, "-"):
        _print_plan(experiments)
        return
    count = write_plan(output_file, experiments)
    note(f"{counted(count, 'experiment')} in {output_file}")


def _print_plan(experiments: Iterable[Experiment]) -> None:
    """Print a JSON list one experiment at a time: a plan may be larger than the memory."""
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


@verb("validate", takes_command=True, requires={"require": "results"})
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
@plan_options
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
      dlbs validate --plan plan.yaml
      dlbs validate --plan plan.json
      dlbs validate --executor slurm --plan plan.yaml
      dlbs validate --nodes host1,host2 -Pexp.docker=false
      dlbs validate --results logs --require results.throughput,results.energy
      dlbs validate --plan plan.json --results results.json
      dlbs validate --plan plan.json --json
    """
    if results:
        return _print_gaps(config, plan, results, require, as_json=as_json)
    from dlbs.executors.base import make_executor
    from dlbs.plan.pipeline import resolved_plan
    from dlbs.run.validate import Validator

    validator = Validator(make_executor(executor), nodes=nodes)
    validator.check_all(resolved_plan(config, plan)())
    if as_json:
        print_json(validator.document())
        return WRONG_INPUT if validator.problems else OK
    validator.raise_problems()
    click.echo(f"{counted(validator.count, 'experiment')}, no problems found")
    return OK


@verb("print-config", takes_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON that --plan reads.")
@plan_options
def print_config_command(config: Config, plan: str | None, as_json: bool) -> None:
    """Show the merged configuration and where each value was set.

    \b
    Examples:
      dlbs print-config -Pexp.model=resnet18
      dlbs print-config --json --plan plan.yaml > merged.json
    """
    from dlbs.plan.files import check_encoding

    if plan is not None:
        raise ConfigError("holds experiments, which are final", where=plan, hint="give the grid that it was built from")
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
    parameter = config.declarations.get(name)
    return {"val": config.settings[name].value, **(parameter.document() if parameter else {"frameworks": []})}


@verb("explain", takes_command=True)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
@plan_options
def explain_command(config: Config, plan: str | None, names: tuple[str, ...], as_json: bool) -> None:
    """Show a parameter's value, where it was set, and what it was computed from, for the plan's first experiment.

    \b
    Examples:
      dlbs explain exp.effective_batch -Pexp.gpus=0,1
      dlbs explain pytorch.options exp.log_file
      dlbs explain exp.log_file --json
    """
    from dlbs.plan.explain import explained, tree

    documents = [explained(config, name, plan) for name in names]
    if as_json:
        print_json(documents)
    else:
        click.echo(printable("\n".join(line for document in documents for line in tree(document))))


@verb("help")
@click.argument(
    "names", metavar="[PARAMETER|KEY|PATTERN|FRAMEWORK|MODEL]...", nargs=-1, shell_complete=completed("help")
)
@click.option("--frameworks", is_flag=True, help="List frameworks and their launchers, or describe the named one.")
@click.option("--models", is_flag=True, help="List the models of pytorch_benchmarks.")
@json_option
@plan_options
def help_command(
    config: Config, plan: str | None, names: tuple[str, ...], frameworks: bool, models: bool, as_json: bool
) -> None:
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
    from dlbs.plan.explain import described_framework, described_models, framework_launchers, lines, listed

    if frameworks:
        documents = [described_framework(config, name) for name in names or framework_launchers(config)]
    elif models:
        documents = described_models(names)
    elif names:
        documents = [document for name in names for document in _documents(config, name)]
    elif as_json:
        documents = [_verb_document(name) for name in _verbs()]
    else:
        click.echo(click.get_current_context().find_root().get_help())
        return
    if as_json:
        print_json(documents)
        return
    words = listed(documents) if models or (frameworks and not names) else lines(documents)
    click.echo(printable("\n".join(words)))


def _verbs() -> dict[str, str]:
    root = click.get_current_context().find_root().command
    return root.lines() if isinstance(root, Group) else {}


def _verb_document(name: str) -> dict[str, Any]:
    """The document about a verb; empty if there is no such verb."""
    verbs = _verbs()
    return {"kind": "verb", "name": name, "description": verbs[name]} if name in verbs else {}


def _documents(config: Config, name: str) -> list[dict[str, Any]]:
    """The documents of `dlbs help NAME`: a verb, a parameter, a model, a framework, or keys of results that match a pattern.

    Raises:
        ConfigError: The name is unknown.
    """
    from dlbs.config.names import meant_by
    from dlbs.plan.explain import described, framework_launchers
    from dlbs.results.keys import key_documents, known_keys

    about = _verb_document(name)
    if about and name not in config.declarations and name not in framework_launchers(config):
        return [about]
    keys = [] if name in config.declarations else key_documents(name)
    try:
        found = described(config, name)
    except ConfigError as error:
        if keys:
            return keys
        close = did_you_mean(name, known_keys()) if name.startswith("results.") else ""
        raise ConfigError(error.what, hint=close or error.hint) from None
    is_key = f"results.{name}" in known_keys() and found[0]["name"] != meant_by(name)
    return [*keys, *found] if is_key else [*found, *keys]


@verb("migrate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Print what would be changed, and write nothing.")
@click.option(
    "--output-file",
    "--output",
    "-o",
    metavar="FILE",
    help="Write to this file instead of replacing FILE; for one FILE only.",
)
@json_option
def migrate_command(files: tuple[str, ...], dry_run: bool, output_file: str | None, as_json: bool) -> int:
    """Rewrite configurations and plans of the original DLBS.

    Each FILE is replaced by its equivalent; the original is kept as FILE.orig. Settings with an exact equivalent are rewritten. Settings
    without one are kept and reported, and the exit code is 1. Nothing is guessed.

    \b
    Examples:
      dlbs migrate --dry-run configs/*.json
      dlbs migrate config.json --output config.new.json
      dlbs migrate --dry-run --json configs/*.json
    """
    from dlbs.plan.migrate import lines, migrate_file, summary

    if output_file is not None and len(files) > 1:
        raise ConfigError(
            "--output requires exactly one FILE", where=output_file, hint="without it, each FILE is replaced"
        )
    summaries = []
    for file in files:
        summaries.append(summary(migrate_file(file, output_file, dry_run=dry_run), file))
        if not as_json:
            click.echo(printable("\n".join(lines(summaries[-1]))))
    if as_json:
        print_json(summaries)
    return FAILED if any(one["left"] for one in summaries) else OK


_MOST_SHOWN = 5  # experiments of one kind


def _print_gaps(
    config: Config, plan: str | None, paths: Sequence[str], required: Sequence[str], *, as_json: bool = False
) -> int:
    """Print the problems of results, each kind with the first affected experiments; returns the exit code.

    Args:
        config: Resolves the plan, if given.
        plan: A file of experiments; without it, and without a grid in a file, the plans that ran last in the log directories.
        paths: Logs, directories or results files.
        required: Keys that each experiment must have.
        as_json: Print JSON.

    Raises:
        LogError: A file cannot be read, or a required key is unknown.
    """
    from dlbs.cli.tables import read_source
    from dlbs.core.experiment import describe
    from dlbs.plan.pipeline import resolved_plan
    from dlbs.results.grouping import distinguishing_names
    from dlbs.results.read.query import check_keys
    from dlbs.results.runs import Runs
    from dlbs.results.tables.lists import gaps, missing_logs

    records = read_source(paths, None, None)
    check_keys(required, dict.fromkeys(name for record in records for name in record), "--require")
    planned = None
    if click.get_current_context().params["files"]:
        planned = {
            text(experiment.get("exp.id")): describe(experiment)
            for experiment in resolved_plan(config, plan)()
            if experiment.get("exp.status") not in {"inactive", "simulate"}
        }
    names = distinguishing_names(Runs.of(records, config.declarations))
    if len({text(record.get("exp.repeat")) for record in records}) > 1:
        names.append("exp.repeat")
    found = gaps(records, required, planned, names)
    if planned is None:
        found += missing_logs(paths)
    if as_json:
        problems = [{"experiment": gap.experiment, "problem": gap.what} for gap in found]
        print_json({"experiments": len(records), "problems": problems})
        return FAILED if found else OK
    if not found:
        click.echo(f"{counted(len(records), 'experiment')}, all with results")
        return OK
    kinds: dict[str, list[str]] = {}
    for gap in found:
        kinds.setdefault(gap.what, []).append(gap.experiment)
    click.echo(f"{counted(len(records), 'experiment')}; {counted(len(found), 'problem')}:")
    for what, experiments in kinds.items():
        click.echo(printable(f"  {what} ({len(experiments)})"))
        for experiment in experiments[:_MOST_SHOWN]:
            click.echo(printable(f"    {experiment}"))
        if len(experiments) > _MOST_SHOWN:
            click.echo(f"    and {len(experiments) - _MOST_SHOWN} more")
    return FAILED
