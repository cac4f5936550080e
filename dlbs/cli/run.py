"""The verb `run`: build a plan from the command line and run it on an executor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dlbs.cli.options import (
    CONTEXT,
    CommandVerb,
    common_options,
    config_options,
    executor_option,
    nodes_option,
    plan_option,
)
from dlbs.cli.streams import OutputError, ReaderGoneError
from dlbs.cli.talk import never_waiting
from dlbs.cli.until_known_options import Asked, until_known_options
from dlbs.errors import ConfigError, DlbsError
from dlbs.logs import STATUSES
from dlbs.plan.order import ORDERS
from dlbs.text import counted, printable

if TYPE_CHECKING:
    from dlbs.config.config import Config
    from dlbs.executors.base import Executor
    from dlbs.experiment import Experiment
    from dlbs.launch.script import Launcher
    from dlbs.run.manifest import Manifest
    from dlbs.run.policies import Policies
    from dlbs.run.progress import Progress
    from dlbs.run.summary import Summary

__all__ = ["run_command", "run_experiments"]


@click.command("run", cls=CommandVerb, context_settings=CONTEXT)
@plan_option("Run this plan (a JSON list, or .jsonl) instead of building one.")
@click.option("--dry-run", is_flag=True, help="Print the launchers without running them.")
@click.option("--no-validation", is_flag=True, help="Run without validation.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1),
    help="Experiments to run in parallel: 1 by default on this machine, no limit on a cluster.",
)
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="plan",
    show_default=True,
    help="Order of experiments; round-robin runs the first repeat of all experiments first.",
)
@click.option("--order-seed", type=int, default=1, show_default=True, help="Seed of --order random.")
@click.option(
    "--retries", type=click.IntRange(0), default=0, show_default=True, help="Number of retries of failed experiments."
)
@click.option("--fail-fast", is_flag=True, help="Start no experiments after the first failure.")
@click.option("--max-failures", type=click.IntRange(1), metavar="N", help="Start no experiments after N failures.")
@click.option("--deadline", metavar="TIME", help="Stop after or at this time: 90m, 2h, 18:30 or 2026-11-30T18:30.")
@executor_option("Executor of the experiments: this machine, a Slurm cluster, other machines, or your own class.")
@nodes_option
@click.option(
    "--detach",
    is_flag=True,
    help="On a cluster: return when all jobs are submitted; run the same command again to watch them.",
)
@click.option("--wait", is_flag=True, help="If another run writes to the same logs, wait for its end.")
@click.option("--progress-file", metavar="FILE", help="Write the progress to a JSON file, and keep it up to date.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@click.option("--verbose", "-v", is_flag=True, help="Also show the start of experiments.")
@click.option("--json", "as_json", is_flag=True, help="At the end, print the outcome of the plan as JSON.")
@until_known_options
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
    nodes: list[str],
    detach: bool,
    wait: bool,
    progress_file: str | None,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    asked: Asked | None,
) -> int:
    """Run experiments and write one log file for each.

    After --, write any command: after warm-up, it is run and timed at least ten times, and for at least three seconds. {name} in it is the
    value of a parameter; `__key__= value` lines that it prints are results.

    Experiments with a complete log are not run again (exp.rerun changes that): after an interruption, run the same command again.
    Ctrl-C stops immediately, SIGUSR1 after the current experiments. The exit code is 0 only if no experiment failed, not all were
    skipped, and neither Ctrl-C nor the deadline stopped the run.

    \b
    Examples:
      dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
      dlbs run -Vexp.model=[alexnet,resnet18] -Vexp.replica_batch=[1,2,4] \\
        -Vexp.phase=[training,inference]
      dlbs run --config plan.yaml
      dlbs run --plan plan.json -Pexp.rerun=onfail
      dlbs run --config plan.yaml -Pexp.repeats=5 \\
        --order round-robin --retries 1 --deadline 2h
      dlbs run -Vexp.seed=[1,2,3,4] -Pexp.gpus=any:1 --jobs 4
      dlbs run --nodes host1,host2 -Pexp.gpus=0,1 -Pexp.docker=false
      dlbs run -Vruntime.malloc=[system,keep] --until-known --by runtime.malloc \\
        --threshold 3% --budget 2h
      dlbs run -Pexp.repeats=5 --order round-robin -- python bench.py \\
        --size {size} -Vsize=[1,2,4]
    """
    from dlbs.plan.pipeline import planned_and_ordered, unlabelled_names
    from dlbs.run.policies import Policies, parse_deadline
    from dlbs.run.progress import Progress
    from dlbs.run.whole import look_through

    with never_waiting(sys.stderr):
        policies = Policies(
            retries, 1 if fail_fast else max_failures or 0, parse_deadline(deadline) if deadline else None
        )
        runs = _executor(executor, jobs, detach, policies)
        if asked is not None:
            from dlbs.cli.until_known import run_until_known

            progress = Progress(file=progress_file, quiet=quiet, verbose=verbose)
            return run_until_known(
                config, asked, plan=plan, seed=order_seed, executor=runs, policies=policies, validate=not no_validation, wait=wait,
                progress=progress, begin=_tell_where, conclude=_conclude, as_json=as_json,
            )  # fmt: skip
        simulated = {"exp.status": "simulate"} if dry_run else {}
        # Results and `dlbs status` use the plan's order, not that of execution.
        planned, experiments = planned_and_ordered(config, plan, order=order, seed=order_seed, **simulated)
        validate = not (no_validation or dry_run)
        manifest = look_through(planned(), runs, validate=validate, unlabelled=unlabelled_names(config, plan))
        if plan is None and not dry_run:
            _tell_defaults(config)
            _tell_where(config, manifest)
        if executor == "local" and (jobs or 1) > 1 and not dry_run:
            _tell_of_shared_gpu(manifest)
        progress = Progress(file=progress_file, quiet=quiet, verbose=verbose, names=manifest.differences.names)
        return run_experiments(
            experiments(), manifest, progress, runs, policies=policies, wait=wait, detach=detach, as_json=as_json
        )


def _executor(name: str, jobs: int | None, detach: bool, policies: Policies) -> Executor:
    """Create the executor of a name, and check that it supports the options."""
    from pathlib import Path

    from dlbs.executors.registry import load_executor

    executor = load_executor(name)(Path.cwd(), jobs)
    if detach and not executor.detachable:
        raise ConfigError(
            f"experiments of --executor {name} end with dlbs run", where="--detach", hint="use --executor slurm"
        )
    if detach and policies != type(policies)():
        raise ConfigError(
            "--retries, --fail-fast, --max-failures and --deadline have no effect after dlbs run has ended",
            where="--detach",
            hint="remove it, or run the same command again with -Pexp.rerun=onfail",
        )
    return executor


def run_experiments(
    experiments: Iterator[Experiment],
    manifest: Manifest,
    progress: Progress,
    executor: Executor,
    *,
    policies: Policies | None = None,
    wait: bool = False,
    detach: bool = False,
    as_json: bool = False,
) -> int:
    """Run experiments that log to the paths in the manifest, report the outcome, and return the exit code."""
    from dlbs.run.whole import run_whole

    launchers: list[dict[str, str]] = []

    def show(launcher: Launcher) -> None:
        if as_json:
            launchers.append({"script": str(launcher.script), "source": launcher.source})
        else:
            click.echo(f"# {launcher.script}\n{launcher.source}")

    try:
        summary = run_whole(
            experiments, manifest, progress, executor, show=show, policies=policies, wait=wait, detach=detach
        )
    except ReaderGoneError:
        if manifest.directories:  # the plan is incomplete, which is an error
            raise OutputError(
                "was closed by its reader before all experiments ended", where="standard output"
            ) from None
        raise
    _conclude(summary, manifest, progress, detach and not (summary.stop_signal or summary.stopped))
    if as_json:
        from dlbs.cli.as_json import print_json

        print_json(
            {"experiments": manifest.count, **summary.document(), **({"launchers": launchers} if launchers else {})}
        )
    return summary.exit_code


def _conclude(summary: Summary, manifest: Manifest, progress: Progress, detached: bool) -> None:
    """Report the outcome of a plan."""
    if not progress.quiet:
        words = [f"{summary.outcomes[status]} {status}" for status in STATUSES if summary.outcomes[status]]
        words += [f"{summary.kept} already finished"] if summary.kept else []
        words += [f"{summary.inactive} inactive"] if summary.inactive else []
        words += [f"{summary.simulated} simulated"] if summary.simulated else []
        words += [f"{summary.left} {'submitted' if detached else 'left'}"] if summary.left else []
        click.echo(f"{counted(manifest.count, 'experiment')}: {', '.join(words) or 'nothing to do'}", err=True)
        if summary.doubts.doubtful:
            from dlbs.cli.doubts import show_doubts

            show_doubts(summary.doubts, err=True)
        for directory in sorted(summary.directories):
            click.echo(printable(f"logs: {os.path.relpath(directory)}"), err=True)
        if summary.stopped:
            click.echo(printable(f"stopped: {summary.stopped}"), err=True)
        if summary.all_skipped:
            click.echo("nothing was measured: all experiments were skipped", err=True)
        if summary.left:
            what = "watch them; dlbs status shows them" if detached else "run the remaining ones"
            click.echo(f"run the same command again to {what}", err=True)


def _tell_defaults(config: Config) -> None:
    """Report what is run, and how to choose something else, if the command line chooses nothing."""
    from dlbs.config.config import values_of

    if config.variables or not all(map(config.is_shipped, config.settings)):
        return
    model, phase = (", ".join(map(str, values_of(config, name))) for name in ("exp.model", "exp.phase"))
    click.echo(
        f"no parameters are set: running the defaults, {phase} of {model}; choose with -Pexp.model=resnet18, --config FILE or -- COMMAND "
        "(dlbs run --help)",
        err=True,
    )


def _tell_where(config: Config, manifest: Manifest) -> None:
    """Report whether experiments run in containers, if that was chosen automatically."""
    from dlbs.config.command import FRAMEWORK as COMMAND
    from dlbs.config.config import values_of

    setting = config.settings.get("exp.docker")
    frameworks = values_of(config, "exp.framework")
    if setting is None or not config.is_shipped("exp.docker") or frameworks == [COMMAND]:
        return
    if manifest.on_bare_metal:
        click.echo("no docker daemon found: running on bare metal (exp.docker=false)", err=True)
    if manifest.images:
        images = ", ".join(manifest.images)
        click.echo(printable(f"docker daemon found: running in containers of {images} (exp.docker=true)"), err=True)


def _tell_of_shared_gpu(manifest: Manifest) -> None:
    """Report that experiments wait for each other because all of them request the same GPU, which is the default."""
    from dlbs.machine.devices import visible_gpus
    from dlbs.machine.resources import gpu_ids

    if manifest.count < 2 or any(gpus.startswith("any:") for gpus in manifest.gpus):
        return
    try:
        wanted = [gpu_ids(gpus) for gpus in manifest.gpus]
    except DlbsError:  # its experiments fail, with this as the reason
        return
    shared = sorted(set.intersection(*map(set, wanted)))
    if shared:
        fewest, most = (of(map(len, wanted)) for of in (min, max))
        instead = f"any:{most}" if fewest == most else "any:N"
        advice = f"; -Pexp.gpus={instead} uses free GPUs" if len(visible_gpus()) > most else ""
        click.echo(f"all experiments use GPU {shared[0]}, so they run one at a time{advice}", err=True)
