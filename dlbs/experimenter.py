"""The program: verbs on plans (run, build, validate, print-config, explain, help, sysinfo), and the way to the others."""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):  # started as a file: python dlbs/experimenter.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

try:
    import click
except ModuleNotFoundError as missing:
    sys.exit(
        f"error: dlbs needs the Python package {missing.name!r} (run `make venv` and use .venv/bin/python, or pip install .)"
    )

from dlbs import __version__
from dlbs.cli import CONTEXT, LazyGroup, common_options, config_options, run
from dlbs.errors import ConfigError

if TYPE_CHECKING:
    from dlbs.config import Config
    from dlbs.launcher import Launcher
    from dlbs.policies import Policies
    from dlbs.processor import Experiment
    from dlbs.progress import Progress
    from dlbs.run import Summary
    from dlbs.status import Census

__all__ = ["cli", "main"]

_HERE = "dlbs.experimenter"
_VERBS = {
    "run": (f"{_HERE}:run_command", "Run experiments and leave one log file for each."),
    "status": ("dlbs.status:status_command", "Show how far a plan is, from its logs."),
    "rerun": ("dlbs.status:rerun_command", "Repeat one experiment from what its log says."),
    "build": (f"{_HERE}:build_command", "Write the plan that a configuration makes."),
    "validate": (f"{_HERE}:validate_command", "Find what would fail, without running anything."),
    "print-config": (f"{_HERE}:print_config_command", "Show the merged configuration and where each value was set."),
    "explain": (f"{_HERE}:explain_command", "Show how a parameter got its value."),
    "help": (f"{_HERE}:help_command", "Describe parameters, frameworks and models."),
    "images": ("dlbs.images:images_command", "List, build and pull docker images."),
    "sysinfo": ("dlbs.sysinfo:sysinfo_command", "Show what this machine has."),
    "parse": ("dlbs.logparser:parse_command", "Turn log files into a table of results."),
    "report": ("dlbs.report:report_command", "Print tables of results."),
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


def _plan_option(help_text: str) -> Callable[..., Any]:
    return click.option("--plan", metavar="FILE", help=help_text)


def _resolved(
    config: Config, plan: str | None, *, order: str = "plan", seed: int = 0, **overrides: Any
) -> Callable[[], Iterator[Experiment]]:
    """A function that gives the resolved plan each time it is called: plans are streams.

    Args:
        config: Makes the plan, or only declares the parameters of a written one.
        plan: A written plan. `-P` changes its experiments too.
        order: In which order, and the seed of a random one.
        overrides: Values that win over all others.
    """
    from dlbs.builder import build
    from dlbs.order import ordered
    from dlbs.plan import processor_for, read_plan

    if plan is not None and config.variables:
        names = ", ".join(config.variable_origins.values())
        raise ConfigError("variables make a plan, but --plan gives one", where=names, hint="use build --plan first")
    given = {name: config.settings[name].value for name in config.from_command_line} if plan is not None else {}
    given.update(overrides)

    def experiments() -> Iterator[Experiment]:
        raw = build(config) if plan is None else read_plan(plan)
        return processor_for(config).resolve_all({**one, **given} for one in ordered(raw, order, seed))

    return experiments


@click.command("run", context_settings=CONTEXT)
@_plan_option("Run this plan (a JSON list, or .jsonl) instead of building one.")
@click.option("--dry-run", is_flag=True, help="Print the launchers and run nothing.")
@click.option("--no-validation", is_flag=True, help="Run without looking for problems first.")
@click.option(
    "--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, help="Experiments at the same time."
)
@click.option(
    "--order",
    type=click.Choice(["plan", "round-robin", "random"]),
    default="plan",
    show_default=True,
    help="round-robin runs the first repeat of everything first.",
)
@click.option("--order-seed", type=int, default=1, show_default=True, help="Seed of --order random.")
@click.option("--retries", type=click.IntRange(0), default=0, show_default=True, help="Try what failed again.")
@click.option("--fail-fast", is_flag=True, help="Start nothing more after the first failure.")
@click.option("--max-failures", type=click.IntRange(1), metavar="N", help="Start nothing more after N failures.")
@click.option("--deadline", metavar="TIME", help="Stop then: 90m, 2h, 18:30 or 2026-11-30T18:30.")
@click.option(
    "--executor",
    type=click.Choice(["local", "slurm"]),
    default="local",
    show_default=True,
    help="This machine, or a Slurm cluster.",
)
@click.option(
    "--detach", is_flag=True, help="With Slurm: return when all is submitted; the same command watches it again."
)
@click.option("--wait", is_flag=True, help="If another run writes to the same logs, wait for its end.")
@click.option("--progress-file", metavar="FILE", help="Keep a JSON file with the progress up to date.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@click.option("--verbose", "-v", is_flag=True, help="Say also when experiments begin.")
@config_options
@common_options
def run_command(
    config: Config,
    plan: str | None,
    dry_run: bool,
    no_validation: bool,
    jobs: int | None,
    order: str,
    order_seed: int,
    retries: int,
    fail_fast: bool,
    max_failures: int | None,
    deadline: str | None,
    executor: str,
    detach: bool,
    wait: bool,
    progress_file: str | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Run experiments and leave one log file for each.

    Experiments whose log is complete are not run again (exp.rerun changes that), so the same command goes on after an
    interruption. Ctrl-C stops at once, SIGUSR1 after the current experiments. The exit code is 0 only if nothing failed.

    \b
    Examples:
      dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
      dlbs run -Vexp.model=[alexnet,resnet18] -Vexp.replica_batch=[1,2,4] -Vexp.phase=[training,inference]
      dlbs run --config examples/first/plan.yaml
      dlbs run --plan plan.json -Pexp.rerun=onfail
      dlbs run --config examples/first/plan.yaml -Pexp.repeats=5 --order round-robin --retries 1 --deadline 2h
      dlbs run -Vexp.seed=[1,2,3,4] -Pexp.gpus=any:1 --jobs 4
    """
    from dlbs.policies import Policies, parse_deadline
    from dlbs.progress import Progress

    policies = Policies(retries, 1 if fail_fast else max_failures or 0, parse_deadline(deadline) if deadline else None)
    _check_executor(executor, detach, policies)
    simulated = {"exp.status": "simulate"} if dry_run else {}
    experiments = _resolved(config, plan, order=order, seed=order_seed, **simulated)
    census = _census(experiments, config, validate=not (no_validation or dry_run), slurm=executor == "slurm")
    if census.count == 0:
        raise ConfigError("the plan has no experiments", hint="dlbs build shows what the configuration makes")
    progress = Progress(file=progress_file, quiet=quiet, verbose=verbose)
    if executor == "slurm" and not dry_run:
        return _run_on_slurm(experiments(), census, progress, throttle=jobs or 0, detach=detach, wait=wait)
    return run_census(experiments(), census, progress, jobs=jobs or 1, policies=policies, wait=wait)


def _check_executor(executor: str, detach: bool, policies: Policies) -> None:
    if executor == "local" and detach:
        raise ConfigError(
            "experiments on this machine end with dlbs run", where="--detach", hint="use --executor slurm"
        )
    if executor == "slurm" and (policies.retries or policies.max_failures or policies.deadline is not None):
        raise ConfigError(
            "--retries, --fail-fast, --max-failures and --deadline are for this machine",
            where="--executor slurm",
            hint="run the same command again with -Pexp.rerun=onfail, or use slurm.time, slurm.deadline",
        )


def _run_on_slurm(
    experiments: Iterator[Experiment], census: Census, progress: Progress, *, throttle: int, detach: bool, wait: bool
) -> int:
    from dlbs.claims import claimed
    from dlbs.run_slurm import run_plan_on_slurm

    with claimed(census.directories, wait=wait, slurm=True):
        census.write()
        summary = run_plan_on_slurm(
            experiments, census.count, progress, directories=census.directories, throttle=throttle, detach=detach
        )
    code = _conclude(summary, census, progress)
    if detach:
        click.echo(f"{summary.left} submitted; the same command watches them, dlbs status shows them", err=True)
    return code


def run_census(
    experiments: Iterator[Experiment], census: Census, progress: Progress, *, jobs: int, policies: Policies, wait: bool
) -> int:
    """Run experiments whose logs go where the census says, say what came of them, and return the exit code."""
    from dlbs.claims import claimed
    from dlbs.run import run_plan

    with claimed(census.directories, wait=wait):
        census.write()
        summary = run_plan(experiments, census.count, progress, show=_show, jobs=jobs, policies=policies)
    return _conclude(summary, census, progress)


def _conclude(summary: Summary, census: Census, progress: Progress) -> int:
    """Say what became of a plan, and return the exit code."""
    if not progress.quiet:
        words = [f"{count} {status}" for status, count in summary.outcomes.items()]
        words += [f"{summary.kept} finished before"] if summary.kept else []
        words += [f"{summary.inactive} inactive"] if summary.inactive else []
        words += [f"{summary.simulated} simulated"] if summary.simulated else []
        words += [f"{summary.left} left"] if summary.left else []
        total = f"{census.count} experiment{'s' if census.count != 1 else ''}"
        click.echo(f"{total}: {', '.join(words) or 'nothing to do'}", err=True)
        for directory in sorted(summary.directories):
            click.echo(f"logs: {os.path.relpath(directory)}", err=True)
        if summary.stopped:
            click.echo(f"stopped: {summary.stopped}", err=True)
        if summary.left:
            click.echo("the same command runs what is left", err=True)
    if summary.stop_signal:
        return 128 + summary.stop_signal
    return 1 if summary.failed or summary.stopped else 0


def _census(
    experiments: Callable[[], Iterable[Experiment]], config: Config, *, validate: bool, slurm: bool = False
) -> Census:
    """Go through the plan once: count it, see where logs go, and look for problems before anything runs."""
    from dlbs.status import Census

    census = Census()
    if not validate:
        for experiment in experiments():
            census.add(experiment)
        return census
    from dlbs.validator import Validator

    validator = Validator(may_run=True, slurm=slurm)
    bare_metal = False
    for experiment in experiments():
        census.add(experiment)
        validator.check(experiment)
        bare_metal |= experiment.get("exp.docker") is False
    _raise_problems(validator)
    setting = config.settings.get("exp.docker")
    if bare_metal and setting is not None and setting.where.split(":")[0].endswith("base.yaml"):
        click.echo("no docker daemon here: running on bare metal (exp.docker=false)", err=True)
    return census


def _raise_problems(validator: Any) -> None:
    problems = validator.problems
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError(
            f"{count} in the plan; nothing was run{listed}\n", hint="--no-validation runs it all the same"
        )


def _show(launcher: Launcher) -> None:
    click.echo(f"# {launcher.script}\n{launcher.source}")


@click.command("build", context_settings=CONTEXT)
@_plan_option("Where to write the plan: .json or .jsonl, .gz may follow; standard output by default.")
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
@_plan_option("Validate this plan instead of building one.")
@config_options
@common_options
def validate_command(config: Config, plan: str | None) -> None:
    """Find what would fail, without running anything: all problems at once.

    \b
    Examples:
      dlbs validate --config examples/first/plan.yaml
      dlbs validate --plan plan.json
    """
    from dlbs.validator import Validator

    validator = Validator()
    validator.check_all(_resolved(config, plan)())
    _raise_problems(validator)
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
      dlbs explain pytorch.args exp.log_file
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
