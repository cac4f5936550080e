"""The verb `status`."""

from __future__ import annotations

import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

import click

from benchmark_core.exits import FAILED, OK
from benchmark_core.text import printable
from dlbs.cli.options import executor_option, json_option, print_json, verb
from dlbs.cli.streams import note, show_doubts, width
from dlbs.core.doubts import Doubts
from dlbs.core.errors import LaunchError, LogError
from dlbs.core.text import counted, first_few, indented
from dlbs.executors.base import Executor, make_executor
from dlbs.run.locks import owned_logs
from dlbs.run.manifest import PLAN_NAME
from dlbs.run.stale import Current
from dlbs.run.status import Look, State, Watch, remaining_document, time_left

_ORDER = ("ok", "failure", "timeout", "skipped", "cancelled", "running", "queued", "interrupted", "unknown", "to do")
_FEW = 3  # experiments with the same reason that are listed individually
_SHORTEST_LEFT = 0.5  # seconds; shorter times are not printed
_INDENT = " " * 15


@verb("status")
@click.argument("paths", nargs=-1, metavar="[DIRECTORY]...")
@json_option
@click.option("--verbose", "-v", is_flag=True, help="List all failed and doubtful experiments.")
@executor_option("Executor, if it is your own class; others are known from the log directory.", default=None)
def status_command(paths: tuple[str, ...], as_json: bool, verbose: bool, executor: str | None) -> int:
    """Show the progress of plans, from their log directories: finished, failed, running, queued, interrupted and
    remaining experiments, doubtful runs, and results that are stale, because their code or software has changed.

    Experiments whose executor cannot be queried are unknown. The exit code is 0 if all finished successfully, 1 otherwise.

    \b
    Examples:
      dlbs status
      dlbs status logs other/logs --json
      dlbs status --executor mypackage.nohup:NohupExecutor
    """
    known = make_executor(executor) if executor is not None else None
    current = Current()
    looks = {path: _look(Path(path), known, current) for path in paths or ("logs",)}
    states = [state for look in looks.values() for state in look.states]
    if not states and all(look.run is None for look in looks.values()):
        inside = sorted(path.parent.as_posix() for one in looks for path in Path(one).glob(f"*/{PLAN_NAME}"))
        hint = (
            f"dlbs status {first_few(inside, ' ')}" if inside else "`dlbs run` writes logs to logs/, or to exp.log_dir"
        )
        raise LogError("neither logs nor a plan", where=" ".join(looks), hint=hint)
    counts = {status: count for status in _ORDER if (count := sum(state.status == status for state in states))}
    if as_json:
        document: dict[str, Any] = {
            "statuses": counts,
            "runs": {path: look.owner for path, look in looks.items() if look.owner is not None},
            **remaining_document(time_left([*looks.values()])),
            "experiments": [
                {name: getattr(state, name) for name in ("status", "message", "doubts", "change")}
                | {"log": str(state.log)}
                for state in states
            ],
        }
        print_json(document)
    else:
        _show(looks, states, counts, verbose)
    return OK if set(counts) <= {"ok", "skipped"} else FAILED


def _show(looks: dict[str, Look], states: list[State], counts: dict[str, int], verbose: bool) -> None:
    """Print the number of experiments of each status, doubtful runs, and experiments that need attention."""
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    if stale := sum(bool(state.change) for state in states):
        words += f"; {stale} stale (exp.rerun=changed runs them again)"
    click.echo(f"{counted(len(states), 'experiment')}: {words or 'none'}")
    left = time_left([*looks.values()])
    if left is not None and left.seconds >= _SHORTEST_LEFT:
        click.echo(left.words())
    doubts = Doubts()
    for state in states:
        if state.status == "ok":
            doubts.add(state.warnings)
    show_doubts(doubts)
    for path, look in looks.items():
        if look.owner is not None:
            click.echo(f"{path}: running in process {look.owner}")
    groups: dict[tuple[str, str], list[tuple[Look, State]]] = {}
    for look in looks.values():
        for state in look.states:
            if state.change:
                groups.setdefault(("stale", state.change), []).append((look, state))
            if state.doubts or state.status not in {"ok", "queued", "to do"}:
                status = "doubtful" if state.doubts else state.status
                groups.setdefault((status, state.message or ", ".join(state.doubts)), []).append((look, state))
    for (status, why), group in groups.items():
        if verbose or len(group) <= _FEW:
            for look, state in group:
                # The label comes first; the name of a log is long and would be wrapped.
                _echo(status, ": ".join(filter(None, [look.label(state.log), why])))
                click.echo(printable(f"{_INDENT}{state.log}"))
        else:
            _echo(status, f"{counted(len(group), 'experiment')}{f': {why}' if why else ''} (-v lists them)")


def _echo(status: str, words: str) -> None:
    click.echo(indented(printable(words), width(sys.stdout), f"  {status:12} ", _INDENT).rstrip())


def _look(directory: Path, known: Executor | None, current: Current) -> Look:
    """The state of a plan, even if its executor cannot be queried."""
    owned: Set[Path] | None = None
    try:
        owned = owned_logs(directory, known)
    except LaunchError as error:
        note(f"warning: {error}")
    look = Watch(directory, current.change).look(owned)
    if look.errors:
        raise look.errors[0]
    return look
