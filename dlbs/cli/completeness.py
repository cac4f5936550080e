"""The output of `dlbs validate --results`: experiments without results, or with incomplete ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dlbs.cli.as_json import print_json
from dlbs.cli.sources import read_source
from dlbs.exit_codes import FAILED, OK
from dlbs.text import counted, printable, text

if TYPE_CHECKING:
    from dlbs.config.config import Config

__all__ = ["print_gaps"]

_MOST_SHOWN = 5  # experiments of one kind


def print_gaps(
    config: Config, plan: str | None, paths: Sequence[str], required: Sequence[str], *, as_json: bool = False
) -> int:
    """Print the problems of results, each kind with the first affected experiments; returns the exit code.

    Args:
        config: Resolves the plan, if given.
        plan: Path of a plan; None for the plans that ran last in the log directories.
        paths: Logs, directories or results files.
        required: Keys that each experiment must have.
        as_json: Print JSON.

    Raises:
        LogError: A file cannot be read, or a required key is unknown.
    """
    from dlbs.experiment import describe
    from dlbs.plan.pipeline import resolved_plan
    from dlbs.results.grouping import distinguishing_names
    from dlbs.results.read.completeness import gaps, missing_logs
    from dlbs.results.read.query import check_keys

    records = read_source(paths, None, None)
    check_keys(required, dict.fromkeys(name for record in records for name in record), "--require")
    planned = None
    if plan is not None:
        planned = {
            text(experiment.get("exp.id")): describe(experiment)
            for experiment in resolved_plan(config, plan)()
            if experiment.get("exp.status") not in {"inactive", "simulate"}
        }
    names = distinguishing_names(records, config.declarations)
    if len({text(record.get("exp.repeat")) for record in records}) > 1:
        names.append("exp.repeat")
    found = gaps(records, required, planned, names)
    if plan is None:
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
