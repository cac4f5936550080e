"""How far a plan is, worked out from the files that it leaves; and repeating one experiment from its log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from dlbs.claims import LOCK_NAME, owner
from dlbs.cli import CONTEXT, common_options
from dlbs.documents import write_atomically
from dlbs.errors import LogError
from dlbs.formatting import printable
from dlbs.logs import STATUSES, first_values, last_values
from dlbs.parameters import text
from dlbs.processor import Experiment

__all__ = ["Census", "State", "read_states", "rerun_command", "status_command"]

PLAN_NAME = ".dlbs.plan"
_MOST_SHOWN = 20


@dataclass(slots=True)
class Census:
    """How many experiments a plan has and where their logs go.

    Attributes:
        count: Experiments.
        directories: Absolute log directories of those that are to run.
    """

    count: int = 0
    directories: set[Path] = field(default_factory=set)
    _logs: list[str] = field(default_factory=list)

    def add(self, experiment: Experiment) -> None:
        """Take an experiment into account."""
        self.count += 1
        if experiment.get("exp.status") not in {"inactive", "simulate"}:
            log = Path(str(experiment["exp.log_file"])).absolute()
            self.directories.add(log.parent)
            self._logs.append(str(log))

    def write(self) -> None:
        """Leave a list of the logs in each of their directories, so that `dlbs status` knows what is still to do.

        Raises:
            ConfigError: It cannot be written.
        """
        by_directory: dict[Path, list[str]] = {}
        for log in self._logs:
            path = Path(log)
            by_directory.setdefault(path.parent, []).append(path.name)
        for directory, names in by_directory.items():
            with write_atomically(directory / PLAN_NAME) as stream:
                stream.writelines(json.dumps(name) + "\n" for name in names)


@dataclass(frozen=True, slots=True)
class State:
    """One experiment.

    Attributes:
        log: Its log file, which need not be there yet.
        status: ok, failure, timeout, skipped or cancelled; running; interrupted (it was under way when its run was killed); to do.
        message: Why, in one line.
    """

    log: Path
    status: str
    message: str = ""


def read_states(directory: Path) -> list[State]:
    """The states of all experiments whose logs are, or will be, in a directory.

    Raises:
        LogError: There is no such directory, or it cannot be read.
    """
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror}", where=str(directory)) from None
    planned = _planned(directory / PLAN_NAME)
    found = {name for name in names if name.endswith(".log")} | {
        name.removesuffix(".part") for name in names if name.endswith(".part")
    }
    held = owner(directory) is not None
    return [_state(directory / name, names, held) for name in sorted(found | set(planned))]


def _state(log: Path, names: set[str], held: bool) -> State:
    if f"{log.name}.part" in names:
        return State(log, "running" if held else "interrupted")
    if log.name not in names:
        return State(log, "to do")
    ending = last_values(log)
    status = ending.get("exp.status")
    if status not in STATUSES:
        return State(log, "interrupted", "the log does not say how it ended")
    return State(log, str(status), text(ending.get("exp.status_msg")))


def _planned(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            name = json.loads(line)
        except ValueError:
            continue
        if isinstance(name, str) and name == Path(name).name and name not in {LOCK_NAME, PLAN_NAME}:
            yield name


@click.command("status", context_settings=CONTEXT)
@click.argument("paths", nargs=-1, metavar="[DIRECTORY]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
def status_command(paths: tuple[str, ...], as_json: bool) -> int:
    """Show how far plans are, from their log directories alone: finished, failed, running, interrupted, to do.

    The exit code is 0 if everything is finished well, 1 otherwise.

    \b
    Examples:
      dlbs status
      dlbs status logs other/logs --json
    """
    states = [state for path in paths or ("logs",) for state in read_states(Path(path))]
    counts = Counter(state.status for state in states)
    owners = {str(path): owner(Path(path)) for path in paths or ("logs",)}
    if as_json:
        document: dict[str, Any] = {
            "statuses": dict(counts),
            "runs": {path: pid for path, pid in owners.items() if pid is not None},
            "experiments": [
                {"log": str(state.log), "status": state.status, "message": state.message} for state in states
            ],
        }
        click.echo(json.dumps(document, indent=1))
    else:
        words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        click.echo(f"{len(states)} experiments: {words or 'none'}")
        for path, pid in owners.items():
            if pid is not None:
                click.echo(f"{path}: process {pid} is running them")
        shown = [state for state in states if state.status not in {"ok", "to do"}]
        for state in shown[:_MOST_SHOWN]:
            message = f": {state.message}" if state.message else ""
            click.echo(printable(f"  {state.status:12} {state.log}{message}"))
        if len(shown) > _MOST_SHOWN:
            click.echo(f"  and {len(shown) - _MOST_SHOWN} more (--json lists all)")
    return 0 if set(counts) <= {"ok", "skipped"} else 1


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
    from dlbs.config import load_config
    from dlbs.errors import ConfigError
    from dlbs.plan import processor_for
    from dlbs.policies import Policies
    from dlbs.progress import Progress
    from dlbs.run_verb import run_census
    from dlbs.template import escape
    from dlbs.validator import Validator

    values = first_values(log)
    if "exp.framework" not in values:
        raise LogError("has no parameters of an experiment at its beginning", where=log, hint="give a log of dlbs run")
    values.update({"exp.log_file": log, "exp.rerun": "always", "exp.status": "", "exp.status_msg": ""})
    (experiment,) = processor_for(load_config()).resolve_all([escape(values)])
    if not no_validation:
        validator = Validator(may_run=True)
        validator.check(experiment)
        if validator.problems:
            raise ConfigError(f"{validator.problems[0]}", where=log, hint="--no-validation runs it all the same")
    census = Census()
    census.add(experiment)
    return run_census(iter([experiment]), census, Progress(quiet=quiet), jobs=1, policies=Policies(), wait=False)
