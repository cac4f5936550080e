"""The verb run: from the command line to a plan that runs on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from dlbs.cli.options import CONTEXT, common_options, config_options, plan_option
from dlbs.errors import ConfigError

if TYPE_CHECKING:
    from dlbs.config.config import Config
    from dlbs.experiment import Experiment
    from dlbs.launch.script import Launcher
    from dlbs.run.driver import Summary
    from dlbs.run.policies import Policies
    from dlbs.run.progress import Progress
    from dlbs.run.status import Census

__all__ = ["run_census", "run_command"]


@click.command("run", context_settings=CONTEXT)
@plan_option("Run this plan (a JSON list, or .jsonl) instead of building one.")
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
    interruption. Ctrl-C stops at once, SIGUSR1 after the current experiments. The exit code is 0 only if nothing failed, and not everything was skipped.

    \b
    Examples:
      dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
      dlbs run -Vexp.model=[alexnet,resnet18] -Vexp.replica_batch=[1,2,4] -Vexp.phase=[training,inference]
      dlbs run --config examples/first/plan.yaml
      dlbs run --plan plan.json -Pexp.rerun=onfail
      dlbs run --config examples/first/plan.yaml -Pexp.repeats=5 --order round-robin --retries 1 --deadline 2h
      dlbs run -Vexp.seed=[1,2,3,4] -Pexp.gpus=any:1 --jobs 4
    """
    from dlbs.plan.pipeline import resolved_plan
    from dlbs.run.policies import Policies, parse_deadline
    from dlbs.run.progress import Progress

    policies = Policies(retries, 1 if fail_fast else max_failures or 0, parse_deadline(deadline) if deadline else None)
    _check_executor(executor, detach, policies)
    simulated = {"exp.status": "simulate"} if dry_run else {}
    experiments = resolved_plan(config, plan, order=order, seed=order_seed, **simulated)
    census = _census(experiments, config, plan, validate=not (no_validation or dry_run), slurm=executor == "slurm")
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
    from dlbs.run.locks import claimed
    from dlbs.run.slurm_driver import run_plan_on_slurm

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
    from dlbs.run.driver import run_plan
    from dlbs.run.locks import claimed

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
        if summary.all_skipped:
            click.echo("nothing was measured: everything was skipped", err=True)
        if summary.left:
            click.echo("the same command runs what is left", err=True)
    if summary.stop_signal:
        return 128 + summary.stop_signal
    return 1 if summary.failed or summary.stopped or summary.all_skipped else 0


def _census(
    experiments: Callable[[], Iterable[Experiment]],
    config: Config,
    plan: str | None,
    *,
    validate: bool,
    slurm: bool = False,
) -> Census:
    """Go through the plan once: count it, see where logs go, and look for problems before anything runs."""
    from dlbs.run.status import Census

    census = Census()
    if not validate:
        for experiment in experiments():
            census.add(experiment)
        return census
    from dlbs.run.validate import Validator

    validator = Validator(may_run=True, slurm=slurm)
    bare_metal = False
    for experiment in experiments():
        census.add(experiment)
        validator.check(experiment)
        bare_metal |= experiment.get("exp.docker") is False
    validator.raise_problems()
    setting = config.settings.get("exp.docker")
    if plan is None and bare_metal and setting is not None and setting.where.split(":")[0].endswith("base.yaml"):
        click.echo("no docker daemon here: running on bare metal (exp.docker=false)", err=True)
    return census


def _show(launcher: Launcher) -> None:
    click.echo(f"# {launcher.script}\n{launcher.source}")
