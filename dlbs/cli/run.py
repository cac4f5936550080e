"""The verb `run`: build a plan from the command line and run it on an executor; with --until-known, until all pairs have a verdict."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from benchmark_core.log import STATUSES
from dlbs.cli.options import (
    executor_option,
    nodes_option,
    plan_options,
    print_json,
    rules_options,
    verb,
)
from dlbs.cli.streams import OutputError, ReaderGoneError, never_waiting, note, show_doubts
from dlbs.core.errors import ConfigError, DlbsError
from dlbs.core.text import counted
from dlbs.plan.pipeline import ORDERS

if TYPE_CHECKING:
    from dlbs.adaptive.until_known import Known, UntilKnown
    from dlbs.config.config import Config
    from dlbs.core.experiment import Experiment
    from dlbs.executors.base import Executor
    from dlbs.launch.script import Launcher
    from dlbs.run.driver import Summary
    from dlbs.run.manifest import Manifest
    from dlbs.run.policies import Policies
    from dlbs.run.progress import Progress


_RULES = ("by", "baseline", "metric", "threshold", "confidence", "ignore", "trust_doubtful")


@verb(
    "run",
    takes_command=True,
    requires={
        "until_known": "by",
        "turns": "by",
        **dict.fromkeys(_RULES, ("until_known", "turns")),
        **dict.fromkeys(("budget", "max_repeats"), "until_known"),
        "fail_on_regression": "baseline",
    },
)
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
@click.option(
    "--until-known", is_flag=True, help="Repeat until each value of --by has a verdict of faster, slower or same."
)
@click.option(
    "--turns",
    type=click.IntRange(1),
    metavar="N",
    help="Compare the values of --by in N rounds, in which their processes take turns where they can.",
)
@rules_options(
    *_RULES,
    mode="Until known and turns",
    by="Parameter whose values are compared.",
    confidence="Confidence level of all verdicts together; with --turns, of each.",
    trust_doubtful="Also use runs with warnings.",
)
@click.option("--budget", metavar="TIME", help="Until known: start no runs after 90m, 2h, ...")
@click.option(
    "--max-repeats",
    type=click.IntRange(1),
    metavar="N",
    help="Until known: maximum repeats of an experiment; 100 by default without --budget.",
)
@click.option(
    "--fail-on-regression", is_flag=True, help="Until known and turns: exit with 3 if anything is slower or broken."
)
@plan_options
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
    until_known: bool,
    turns: int | None,
    rules: dict[str, Any],
    budget: str | None,
    max_repeats: int | None,
    fail_on_regression: bool,
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
      dlbs run -Vexp.model=alexnet,resnet18 -Vexp.replica_batch=1,2,4 \\
        -Vexp.phase=training,inference
      dlbs run --plan plan.yaml
      dlbs run --plan experiments.json -Pexp.rerun=onfail
      dlbs run --plan plan.yaml -Pexp.repeats=5 \\
        --order round-robin --retries 1 --deadline 2h
      dlbs run -Vexp.seed=1,2,3,4 -Pexp.gpus=any:1 --jobs 4
      dlbs run --nodes host1,host2 -Pexp.gpus=0,1 -Pexp.docker=false
      dlbs run -Vruntime.malloc=system,keep --until-known --by runtime.malloc \\
        --threshold 3% --budget 2h
      dlbs run -Pexp.repeats=5 --order round-robin -- python bench.py \\
        --size {size} -Vsize=1,2,4
    """
    from dlbs.plan.pipeline import planned_and_ordered, unlabelled_names
    from dlbs.run.driver import look_through
    from dlbs.run.policies import Policies, parse_deadline, parse_duration
    from dlbs.run.progress import Progress
    from dlbs.run.status import kinds_of

    if until_known or turns:
        _check_rounds("--turns" if turns else "--until-known", dry_run=dry_run, detach=detach, order=order)
    if until_known and turns:
        raise click.UsageError("--turns runs a fixed number of rounds: remove --until-known, or --turns")
    if plan is not None:
        from dlbs.plan.files import check_rereadable

        check_rereadable(plan)
    with never_waiting(sys.stderr):
        policies = Policies(
            retries, 1 if fail_fast else max_failures or 0, parse_deadline(deadline) if deadline else None
        )
        runs = _executor(executor, jobs, detach, policies)
        progress = Progress(file=progress_file, quiet=quiet, verbose=verbose)
        if until_known or turns:
            from dlbs.adaptive.until_known import UntilKnown
            from dlbs.results.statistics.ratio import Rules

            seconds = parse_duration(budget, "--budget") if budget else None
            known = UntilKnown(
                config, Rules(**rules), plan=plan, budget=seconds, max_repeats=max_repeats, rounds=turns, seed=order_seed,
                tell=progress.say,
            )  # fmt: skip
            manifest = known.look_through(runs, validate=not no_validation)
            if turns and executor != "local":
                raise ConfigError(
                    f"no turns: {known.no_turns}",
                    where="--turns",
                    hint="-Pexp.repeats=5 --order round-robin alternates runs",
                )
            if plan is None:
                _tell_where(config, manifest)
            outcome = _run_rounds(known, progress, runs, policies=policies, wait=wait)
            code = outcome.gate_code() if fail_on_regression else outcome.exit_code
            _show_known(outcome, manifest, code, as_json=as_json)
            return code
        simulated = {"exp.status": "simulate"} if dry_run else {}
        # Results and `dlbs status` use the plan's order, not that of execution.
        planned, experiments = planned_and_ordered(config, plan, order=order, seed=order_seed, **simulated)
        validate = not (no_validation or dry_run)
        manifest = look_through(planned(), runs, validate=validate, unlabelled=unlabelled_names(config, plan))
        if plan is None and not dry_run:
            _tell_defaults(config)
            _tell_where(config, manifest)
        if executor == "local" and (unused := [name for name in config.typed if name.startswith("slurm.")]):
            note(f"{', '.join(unused)}: without effect, unless --executor slurm is given")
        if executor == "local" and (jobs or 1) > 1 and not dry_run:
            _tell_of_shared_gpu(manifest)
            _tell_of_neighbours(manifest, jobs or 1)
        progress.names, progress.kinds = manifest.differences.names, kinds_of(manifest.logs)
        return run_experiments(
            experiments(), manifest, progress, runs, policies=policies, wait=wait, detach=detach, as_json=as_json
        )


def _executor(name: str, jobs: int | None, detach: bool, policies: Policies) -> Executor:
    """Create the executor of a name, and check that it supports the options."""

    from dlbs.executors.base import make_executor

    executor = make_executor(name, jobs)
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
    from dlbs.run.driver import run_plan

    launchers: list[dict[str, str]] = []

    def show(launcher: Launcher) -> None:
        if as_json:
            launchers.append({"script": str(launcher.script), "source": launcher.source})
        else:
            click.echo(f"# {launcher.script}\n{launcher.source}", color=True)  # unchanged in a file

    try:
        summary = run_plan(
            experiments, manifest, progress, executor, show=show, policies=policies, wait=wait, detach=detach
        )
    except ReaderGoneError:
        if manifest.directories:  # the plan is incomplete, which is an error
            raise OutputError(
                "was closed by its reader before all experiments ended", where="standard output"
            ) from None
        raise
    _conclude(summary, manifest, progress.quiet, detach and not (summary.stop_signal or summary.stopped))
    if as_json:
        print_json(
            {"experiments": manifest.count, **summary.document(), **({"launchers": launchers} if launchers else {})}
        )
    return summary.exit_code


def _conclude(summary: Summary, manifest: Manifest, quiet: bool, detached: bool) -> None:
    """Report the outcome of a plan."""
    words = [f"{summary.outcomes[status]} {status}" for status in STATUSES if summary.outcomes[status]]
    words += [f"{summary.kept} already finished"] if summary.kept else []
    if summary.changed:
        (what, _), *others = summary.changed.most_common()
        code = "code" if all(" changed" in change for change in summary.changed) else "code or software"
        more = f", and {counted(len(others), 'other change')}" if others else ""
        words[-1] += f", {summary.changed.total()} of them with other {code}: {what}{more}"
    words += [f"{summary.inactive} inactive"] if summary.inactive else []
    words += [f"{summary.simulated} simulated"] if summary.simulated else []
    words += [f"{summary.left} {'submitted' if detached else 'left'}"] if summary.left else []
    note(f"{counted(manifest.count, 'experiment')}: {', '.join(words) or 'nothing to do'}")
    if summary.simulated:
        note("nothing was run or validated (dlbs validate finds problems)")
    if summary.changed:
        note("exp.rerun=changed runs those again whose code or software has changed")
    if summary.doubts.doubtful:
        show_doubts(summary.doubts, err=True)
    for directory in sorted(summary.directories):
        with suppress(FileNotFoundError):  # the current directory has vanished
            failed = quiet and summary.outcomes["failure"] + summary.outcomes["timeout"]
            note(f"logs: {os.path.relpath(directory)}" + (" (dlbs status shows the reasons)" if failed else ""))
    if summary.stopped:
        note(f"stopped: {summary.stopped}")
    if summary.all_skipped:
        note("nothing was measured: all experiments were skipped")
    if summary.left:
        what = "watch them; dlbs status shows them" if detached else "run the remaining ones"
        note(f"run the same command again to {what}")


def _tell_defaults(config: Config) -> None:
    """Report what is run, and how to choose something else, if the command line chooses nothing."""
    from dlbs.config.config import values_of

    if config.variables or not all(map(config.is_shipped, config.settings)):
        return
    model, phase = (", ".join(map(str, values_of(config, name))) for name in ("exp.model", "exp.phase"))
    note(
        f"no parameters are set: running the defaults, {phase} of {model}; choose with -Pexp.model=resnet18, --plan FILE or -- COMMAND "
        "(dlbs run --help)"
    )


def _tell_where(config: Config, manifest: Manifest) -> None:
    """Report whether experiments run in containers, if that was chosen automatically."""
    from dlbs.config.config import values_of
    from dlbs.config.user_command import FRAMEWORK as COMMAND

    setting = config.settings.get("exp.docker")
    frameworks = values_of(config, "exp.framework")
    if setting is None or not config.is_shipped("exp.docker") or frameworks == [COMMAND]:
        return
    if manifest.on_bare_metal:
        note("no docker daemon found: running on bare metal (exp.docker=false)")
    if manifest.images:
        images = ", ".join(manifest.images)
        note(f"docker daemon found: running in containers of {images} (exp.docker=true)")


def _tell_of_shared_gpu(manifest: Manifest) -> None:
    """Report that experiments wait for each other because all of them request the same GPU, which is the default."""
    from benchmark_core.gpus import visible_gpus
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
        note(f"all experiments use GPU {shared[0]}, so they run one at a time{advice}")


def _tell_of_neighbours(manifest: Manifest, jobs: int) -> None:
    """Report that experiments that run at the same time may use the same CPUs."""
    from dlbs.machine.resources import usable_cpus

    together, cpus = min(jobs, manifest.unbound), len(usable_cpus())
    if together > 1:
        each = max(1, cpus // together)
        note(
            f"up to {together} experiments at a time share {counted(cpus, 'CPU')} and slow each other down; "
            f"-Pruntime.cpus={each} gives each {counted(each, 'separate CPU')}"
        )


def _check_rounds(mode: str, *, dry_run: bool, detach: bool, order: str) -> None:
    """Reject options that contradict --until-known or --turns."""
    if dry_run:
        raise click.UsageError(f"--dry-run prints the launchers of a plan: remove {mode}")
    if detach:
        raise click.UsageError(f"{mode} must decide about each next round: remove --detach")
    if order != "plan":
        raise click.UsageError(f"{mode} runs rounds in random order (--order-seed): remove --order")


def _run_rounds(rounds: UntilKnown, progress: Progress, executor: Executor, *, policies: Policies, wait: bool) -> Known:
    """Run rounds of the plan until all pairs are decided, and report the outcome of the experiments."""
    pairs, manifest = rounds.pairs, rounds.manifest
    progress.names = manifest.differences.names
    first = f"{counted(len(pairs.pairs), 'pair')}, {counted(len(pairs.wanted()), 'experiment')} per round; no verdict before round {pairs.first_round}"
    progress.say(first)
    sides = "the sides take turns" if pairs.take_turns else f"whole runs alternate, without turns: {rounds.no_turns}"
    progress.say(sides)
    for label in pairs.alone:
        progress.say(f"{label}: not run, because there is nothing to compare it with")
    if not pairs.rules.threshold and pairs.fixed is None:
        progress.say(
            "with --threshold 0 no pair gets the verdict same: equal pairs stay open until the budget is spent"
        )
    known = rounds.run(progress, executor, policies=policies, wait=wait)
    _conclude(known.summary, manifest, progress.quiet, False)
    return known


def _show_known(known: Known, manifest: Manifest, code: int, *, as_json: bool) -> None:
    """Print the comparison and the open pairs."""
    from dlbs.cli.tables import print_tables
    from dlbs.results.tables.comparison import as_document, comparison_table

    if as_json:
        print_json(
            {
                "rounds": known.rounds,
                "open": list(known.open),
                "given_up": list(known.given_up),
                "stopped": known.stopped or None,
                "comparison": as_document(known.comparison) if known.rounds else None,
                "experiments": manifest.count,
                **known.summary.document(),
                "exit_code": code,
            }
        )
        return
    if known.rounds:
        table = comparison_table(known.comparison)
        level = 100 * known.comparison.comparisons[0].confidence
        if not known.is_fixed:
            table.legend.append(f"the confidence level of all intervals, rounds and pairs together is {level:.4g} %")
        print_tables([table], "terminal")
    left = [*known.open, *known.given_up]
    if not left and known.is_fixed:
        return
    if not left:
        note(f"known after {counted(known.rounds, 'round')}")
        return
    for line in left:
        note(line)
    if known.open:
        why = f": {known.stopped}" if known.stopped else ""
        note(f"{counted(len(known.open), 'pair')} open after {counted(known.rounds, 'round')}{why}")
        note("run the same command again to continue")
