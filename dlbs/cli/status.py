"""The verbs `status` and `rerun`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

import click

from dlbs.cli.options import CONTEXT, common_options, executor_option
from dlbs.doubts import doubt_words
from dlbs.errors import LaunchError, LogError
from dlbs.executors.base import Executor
from dlbs.executors.registry import load_executor
from dlbs.exit_codes import FAILED, OK
from dlbs.logs import first_values
from dlbs.run.locks import owned_logs, owner
from dlbs.run.status import Manifest, State, label, read_states
from dlbs.text import counted, indented, printable

__all__ = ["rerun_command", "status_command"]

_MOST_SHOWN = 20
_WIDE = 10_000  # columns of what is no terminal


@click.command("status", context_settings=CONTEXT)
@click.argument("paths", nargs=-1, metavar="[DIRECTORY]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@executor_option("What runs them, if it is a class of yours; others are known from the log directory.", default=None)
@common_options
def status_command(paths: tuple[str, ...], as_json: bool, executor: str | None) -> int:
    """Show how far plans are, from their log directories: finished, failed, running, queued, interrupted, to do, and which numbers are doubtful.

    Unknown are those whose executor cannot be asked. The exit code is 0 if everything is finished well, 1 otherwise.

    \b
    Examples:
      dlbs status
      dlbs status logs other/logs --json
      dlbs status --executor mypackage.nohup:NohupExecutor
    """
    known = load_executor(executor)(Path.cwd()) if executor is not None else None
    states = [state for path in paths or ("logs",) for state in _states(Path(path), known)]
    counts = Counter(state.status for state in states)
    owners = {str(path): owner(Path(path)) for path in paths or ("logs",)}
    if as_json:
        document: dict[str, Any] = {
            "statuses": dict(counts),
            "runs": {path: pid for path, pid in owners.items() if pid is not None},
            "experiments": [
                {"log": str(state.log), "status": state.status, "message": state.message, "doubts": state.doubts}
                for state in states
            ],
        }
        click.echo(json.dumps(document, indent=1))
    else:
        doubtful = [state for state in states if state.doubts]
        words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        click.echo(f"{counted(len(states), 'experiment')}: {words or 'none'}")
        if doubtful:
            kinds = Counter(kind for state in doubtful for kind in state.doubts)
            click.echo(printable(f"doubtful: {len(doubtful)} of {counts['ok']} ok ({doubt_words(kinds)})"))
        for path, pid in owners.items():
            if pid is not None:
                click.echo(f"{path}: process {pid} is running them")
        shown = [state for state in states if state.doubts or state.status not in {"ok", "queued", "to do"}]
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
        indent = " " * 15
        for state in shown[:_MOST_SHOWN]:
            status = "doubtful" if state.doubts else state.status
            words = ": ".join(filter(None, [label(state.log), state.message or ", ".join(state.doubts)]))
            # What tells experiments apart comes first; a name of a log is long, and would be broken by the end of the line.
            click.echo(indented(printable(words), width, f"  {status:12} ", indent).rstrip())
            click.echo(printable(f"{indent}{state.log}"))
        if len(shown) > _MOST_SHOWN:
            click.echo(f"  and {len(shown) - _MOST_SHOWN} more (--json lists all)")
    return OK if set(counts) <= {"ok", "skipped"} else FAILED


def _states(directory: Path, known: Executor | None) -> list[State]:
    """The states of a plan, even if its executor does not say what it is running."""
    owned: Set[Path] | None = None
    try:
        owned = owned_logs(directory, known)
    except LaunchError as error:
        click.echo(f"warning: {printable(str(error))}", err=True)
    return read_states(directory, owned)


@click.command("rerun", context_settings=CONTEXT)
@click.argument("log", metavar="LOG")
@click.option("--no-validation", is_flag=True, help="Run without looking for problems first.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@common_options
def rerun_command(log: str, no_validation: bool, quiet: bool) -> int:
    """Repeat one experiment from what its log says, and replace the log when it is done.

    The log decides what is started: repeat only logs that you trust.

    \b
    Examples:
      dlbs rerun logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log
    """
    from dlbs.cli.run import run_experiments
    from dlbs.config.load import load_config
    from dlbs.errors import ConfigError
    from dlbs.executors.local import LocalExecutor
    from dlbs.language.template import escape
    from dlbs.plan.pipeline import processor_for
    from dlbs.run.progress import Progress
    from dlbs.run.validate import Validator

    values = first_values(log)
    if not values and not os.path.lexists(log):
        raise LogError("no such file", where=log, hint="dlbs status lists logs")
    if "exp.framework" not in values:
        raise LogError("has no parameters of an experiment at its beginning", where=log, hint="give a log of dlbs run")
    values.update({"exp.log_file": log, "exp.rerun": "always", "exp.status": "", "exp.status_msg": ""})
    (experiment,) = processor_for(load_config()).resolve_all([escape(values)])
    if not no_validation:
        validator = Validator(may_run=True)
        validator.check(experiment)
        if validator.problems:
            raise ConfigError(f"{validator.problems[0]}", where=log, hint="--no-validation runs it all the same")
    manifest = Manifest()
    manifest.add(experiment)
    return run_experiments(iter([experiment]), manifest, Progress(quiet=quiet), LocalExecutor(Path.cwd()))
