"""Run experiments until known: `dlbs run --until-known`, and its final output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dlbs.cli.as_json import print_json
from dlbs.errors import ConfigError
from dlbs.text import counted, printable

if TYPE_CHECKING:
    from dlbs.cli.until_known_options import Asked
    from dlbs.config.config import Config
    from dlbs.executors.base import Executor
    from dlbs.inquiry import Known
    from dlbs.run.manifest import Manifest
    from dlbs.run.policies import Policies
    from dlbs.run.progress import Progress

__all__ = ["run_until_known"]


def run_until_known(
    config: Config,
    asked: Asked,
    *,
    plan: str | None,
    seed: int,
    executor: Executor,
    policies: Policies,
    validate: bool,
    wait: bool,
    progress: Progress,
    begin: Callable[[Config, Manifest], None],
    conclude: Callable[..., None],
    as_json: bool = False,
) -> int:
    """Run rounds of the plan until all pairs are decided, print the comparison, and return the exit code.

    Args:
        config: Makes the plan.
        asked: The comparison to decide.
        plan: A plan file.
        seed: Seed of the order within rounds.
        executor: Runs experiments.
        policies: Policies for failures and time.
        validate: Validate first.
        wait: Wait for another run that writes to the same logs.
        progress: Shows the progress to the user.
        begin: Reports whether experiments run in containers.
        conclude: Reports the outcome of the experiments.
        as_json: Print the comparison as JSON.
    """
    from dlbs.cli.compare import share
    from dlbs.inquiry import Inquiry
    from dlbs.results.statistics.pairs import Question
    from dlbs.results.tables.comparison_by import document_by
    from dlbs.run.policies import parse_duration

    threshold, confidence = share(asked.threshold, "--threshold"), share(asked.confidence, "--confidence")
    if not 0.5 <= confidence < 1:
        raise ConfigError(
            "is not a valid confidence level", where=f"--confidence {asked.confidence}", hint="give 50% to 99.99%"
        )
    question = Question(
        asked.by, asked.baseline, asked.metric, threshold, confidence, asked.ignore, asked.trust_doubtful
    )
    budget = parse_duration(asked.budget, "--budget") if asked.budget else None
    inquiry = Inquiry(
        config, question, plan=plan, budget=budget, max_repeats=asked.max_repeats, seed=seed, tell=progress.say
    )
    manifest = inquiry.look_through(executor, validate=validate)
    if plan is None:
        begin(config, manifest)
    progress.names = manifest.differences.names
    pairs = inquiry.pairs
    first = f"{counted(len(pairs.pairs), 'pair')}, {counted(len(pairs.wanted()), 'experiment')} per round; no verdict before round {pairs.first_round}"
    progress.say(first)
    for label in pairs.alone:
        progress.say(f"{label}: not run, because there is nothing to compare it with")
    if not threshold:
        progress.say(
            "with --threshold 0 no pair gets the verdict same: equal pairs stay open until the budget is spent"
        )
    known = inquiry.run(progress, executor, policies=policies, wait=wait)
    conclude(known.summary, manifest, progress, False)
    code = known.gate_code() if asked.fail_on_regression else known.exit_code
    if as_json:
        print_json(
            {
                "rounds": known.rounds,
                "open": list(known.open),
                "given_up": list(known.given_up),
                "stopped": known.stopped or None,
                "comparison": document_by(known.comparison) if known.rounds else None,
                "experiments": manifest.count,
                **known.summary.document(),
                "exit_code": code,
            }
        )
    else:
        _show(known, confidence)
    return code


def _show(known: Known, confidence: float) -> None:
    """Print the comparison and the open pairs."""
    from dlbs.cli.tables import print_tables
    from dlbs.results.tables.comparison_by import comparison_by_table

    if known.rounds:
        table = comparison_by_table(known.comparison)
        table.legend.append(
            f"the confidence level of all intervals, rounds and pairs together is {100 * confidence:.4g} %"
        )
        print_tables([table], "terminal")
    left = [*known.open, *known.given_up]
    if not left:
        click.echo(f"known after {counted(known.rounds, 'round')}", err=True)
        return
    for line in left:
        click.echo(printable(line), err=True)
    if known.open:
        why = f": {known.stopped}" if known.stopped else ""
        click.echo(f"{counted(len(known.open), 'pair')} open after {counted(known.rounds, 'round')}{why}", err=True)
        click.echo("run the same command again to continue", err=True)
