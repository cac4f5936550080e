"""The program: verbs on plans (run, build, validate, print-config, explain, help, sysinfo), and the way to the others."""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):  # started as a file: python dlbs/experimenter.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

try:
    import click
except ModuleNotFoundError as missing:
    sys.exit(
        f"error: dlbs needs the Python package {missing.name!r} (run `make venv` and use .venv/bin/python, or pip install .)"
    )

from dlbs import __version__
from dlbs.cli import CONTEXT, LazyGroup, common_options, config_options, plan_option, run

if TYPE_CHECKING:
    from dlbs.config import Config
    from dlbs.processor import Experiment

__all__ = ["cli", "main"]

_HERE = "dlbs.experimenter"
_VERBS = {
    "run": ("dlbs.run_verb:run_command", "Run experiments and leave one log file for each."),
    "status": ("dlbs.status:status_command", "Show how far a plan is, from its logs."),
    "rerun": ("dlbs.status:rerun_command", "Repeat one experiment from what its log says."),
    "build": (f"{_HERE}:build_command", "Write the plan that a configuration makes."),
    "validate": (f"{_HERE}:validate_command", "Find what would fail, without running anything."),
    "print-config": (f"{_HERE}:print_config_command", "Show the merged configuration and where each value was set."),
    "explain": (f"{_HERE}:explain_command", "Show how a parameter got its value."),
    "help": (f"{_HERE}:help_command", "Describe parameters, frameworks and models."),
    "pack": ("dlbs.pack:pack_command", "Add benchmarks from outside."),
    "images": ("dlbs.images:images_command", "List, build and pull docker images."),
    "sysinfo": ("dlbs.sysinfo:sysinfo_command", "Show what this machine has."),
    "parse": ("dlbs.logparser:parse_command", "Turn log files into a table of results."),
    "report": ("dlbs.report:report_command", "Print tables of results, or write a page of them."),
    "compare": ("dlbs.compare_verb:compare_command", "Say what is faster or slower than before."),
    "bisect": ("dlbs.bisect_verb:bisect_command", "Find the change that made it slower."),
    "plot": ("dlbs.plot:plot_command", "Draw results."),
    "serve": ("dlbs.serve:serve_command", "Show results in a browser while a plan runs."),
    "db": ("dlbs.db:db_command", "Keep results in a database, and ask it."),
    "completion": (f"{_HERE}:completion_command", "Print the shell completion script."),
}


@click.group(cls=LazyGroup, verbs=_VERBS, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="dlbs")
def cli() -> None:
    """Run grids of deep-learning benchmarks and turn their logs into numbers.

    \b
    dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
    dlbs run -Vexp.model=[alexnet,resnet18] -Vexp.replica_batch=[1,2,4]
    dlbs parse logs --output_file results.json
    dlbs report results.json
    """


@click.command("build", context_settings=CONTEXT)
@plan_option("Where to write the plan: .json or .jsonl, .gz may follow; standard output by default.")
@click.option("--resolve", is_flag=True, help="Write final values instead of references and expressions.")
@config_options
@common_options
def build_command(config: Config, plan: str | None, resolve: bool) -> None:
    """Write the plan that a configuration makes: a list of experiments.

    \b
    Examples:
      dlbs build --plan plan.json -Vexp.model=[alexnet,resnet18] -Vexp.replica_batch=[1,2,4]
      dlbs build --resolve --plan plan.jsonl --config examples/first/plan.yaml
    """
    import json

    from dlbs.builder import build
    from dlbs.plan import processor_for, write_plan
    from dlbs.template import escape

    experiments: Iterable[Experiment] = build(config)
    if resolve:
        # A resolved plan is a plan too: what looks like a reference in a final value is escaped.
        experiments = map(escape, processor_for(config).resolve_all(experiments))
    if plan is None:
        click.echo(json.dumps(list(experiments), indent=1))
        return
    count = write_plan(plan, experiments)
    click.echo(f"{count} experiment{'s' if count != 1 else ''} in {plan}", err=True)


@click.command("validate", context_settings=CONTEXT)
@plan_option("Validate this plan instead of building one.")
@config_options
@common_options
def validate_command(config: Config, plan: str | None) -> None:
    """Find what would fail, without running anything: all problems at once.

    \b
    Examples:
      dlbs validate --config examples/first/plan.yaml
      dlbs validate --plan plan.json
    """
    from dlbs.plan import resolved_plan
    from dlbs.validator import Validator

    validator = Validator()
    validator.check_all(resolved_plan(config, plan)())
    validator.raise_problems()
    click.echo(f"{validator.count} experiment{'s' if validator.count != 1 else ''}, no problems found")


@click.command("print-config", context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Print JSON that --config reads.")
@config_options
@common_options
def print_config_command(config: Config, as_json: bool) -> None:
    """Show the merged configuration and where each value was set.

    \b
    Examples:
      dlbs print-config -Pexp.model=resnet18
      dlbs print-config --json --config examples/first/plan.yaml > merged.json
    """
    import json

    if as_json:
        document = {
            "parameters": {name: _declared(config, name) for name in config.settings},
            "variables": config.variables,
            "extensions": [
                {"condition": one.condition, "parameters": one.parameters, "cases": one.cases}
                for one in config.extensions
            ],
            "exclude": [one.condition for one in config.exclude],
        }
        click.echo(json.dumps(document, indent=1))
        return
    for name, setting in config.settings.items():
        click.echo(f"{name} = {json.dumps(setting.value)}    # {setting.where}")
    for key, values in config.variables.items():
        click.echo(f"{key} in {json.dumps(values)}    # {config.variable_origins[key]}")
    for extension in config.extensions:
        click.echo(f"if {json.dumps(extension.condition)}: {json.dumps(extension.parameters)}    # {extension.where}")


def _declared(config: Config, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"val": config.settings[name].value}
    parameter = config.declarations.get(name)
    if parameter is not None:
        made.update(type=parameter.type, desc=parameter.desc, identity=parameter.identity)
        if parameter.domain is not None:
            made["val_domain"] = list(parameter.domain)
        if parameter.regexp:
            made["val_regexp"] = parameter.regexp
        if parameter.option_in:
            made["option_in"] = parameter.option_in
    return made


@click.command("explain", context_settings=CONTEXT)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@config_options
@common_options
def explain_command(config: Config, names: tuple[str, ...]) -> None:
    """Show a parameter's value, where it was set, and what it was computed from, for the plan's first experiment.

    \b
    Examples:
      dlbs explain exp.effective_batch -Pexp.gpus=0,1
      dlbs explain pytorch.options exp.log_file
    """
    from dlbs.explain import explanation

    for name in names:
        click.echo("\n".join(explanation(config, name)))


@click.command("help", context_settings=CONTEXT)
@click.argument("pattern", metavar="[PARAMETER|PATTERN]", required=False)
@click.option("--frameworks", is_flag=True, help="List frameworks and their launchers.")
@click.option("--models", is_flag=True, help="List the models of pytorch_benchmarks.")
@config_options
@common_options
def help_command(config: Config, pattern: str | None, frameworks: bool, models: bool) -> None:
    """Describe parameters: one by its name, several by a regular expression or a word.

    \b
    Examples:
      dlbs help exp.replica_batch
      dlbs help 'exp.num_.*'
      dlbs help --models
    """
    from dlbs.explain import describe_frameworks, describe_models, describe_parameters

    if frameworks:
        lines = describe_frameworks(config)
    elif models:
        lines = describe_models()
    elif pattern is None:
        context = click.get_current_context().parent
        click.echo(context.get_help() if context else cli.get_help(click.Context(cli)))
        return
    else:
        lines = describe_parameters(config, pattern)
    click.echo("\n".join(lines))


@click.command("completion", context_settings=CONTEXT)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
def completion_command(shell: str) -> None:
    """Print the shell completion script.

    \b
    Examples:
      eval "$(dlbs completion bash)"
      dlbs completion fish > ~/.config/fish/completions/dlbs.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # click knows the three choices
    click.echo(found(cli, {}, "dlbs", "_DLBS_COMPLETE").source())


def main() -> None:
    """The console command `dlbs`."""
    if "_DLBS_COMPLETE" in os.environ:
        cli.main(prog_name="dlbs")
    run(cli, "dlbs")


if __name__ == "__main__":
    main()
