"""The verb `bisect`: find the commit, or the line of an ordered list, that caused a slowdown."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dlbs.cli.as_json import json_option, print_json
from dlbs.cli.compare import share
from dlbs.cli.options import CONTEXT, common_options
from dlbs.errors import LogError
from dlbs.exit_codes import BISECT_SKIP
from dlbs.results.statistics.estimators import FEWEST_RUNS

if TYPE_CHECKING:
    from dlbs.results.read.onelog import Record
    from dlbs.results.statistics.bisect import Search

__all__ = ["bisect_command"]


@click.command("bisect", context_settings=CONTEXT)
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True)
@click.option("--good", metavar="NAME", required=True, help="Candidate with the expected speed.")
@click.option("--bad", metavar="NAME", required=True, help="Later candidate that is slower.")
@click.option("--repo", metavar="DIR", default=".", show_default=True, help="Git repository with the commits.")
@click.option("--list", "list_file", metavar="FILE", help="Search the lines of this file instead of commits.")
@click.option("--state", metavar="DIR", default="bisect", show_default=True, help="Directory for measurements.")
@click.option(
    "--metric",
    metavar="KEY",
    help="Quantity to compare: results.throughput, or results.time if no experiment has that.",
)
@click.option("--threshold", default="3%", show_default=True, help="Ignore differences up to this.")
@click.option("--confidence", default="95%", show_default=True, help="Confidence level of each interval.")
@click.option(
    "--most-runs",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Maximum number of runs per candidate while the verdict is inconclusive.",
)
@click.option("--trust-single-runs", is_flag=True, help="Give verdicts on fewer than 3 runs.")
@click.option("--trust-doubtful", is_flag=True, help="Give verdicts on doubtful runs, those with warnings.")
@json_option
@common_options
def bisect_command(
    command: tuple[str, ...],
    good: str,
    bad: str,
    repo: str,
    list_file: str | None,
    state: str,
    metric: str | None,
    threshold: str,
    confidence: str,
    most_runs: int,
    trust_single_runs: bool,
    trust_doubtful: bool,
    as_json: bool,
) -> None:
    """Find the first commit, or the first line of a list, that is slower than the good one.

    COMMAND measures one candidate. {item} in it is the candidate's name, and {logs} the directory where it must write its logs;
    DLBS_BISECT_ITEM and DLBS_BISECT_LOGS have the same values. With commits, it runs in a separate checkout. Exit code 125 skips a
    candidate. The verdict is that of dlbs compare with the good candidate; while it is inconclusive, the candidate is measured again.
    After an interruption, run the same command again.

    \b
    Examples:
      dlbs bisect --good v1.0 --bad main -- dlbs run --config plan.yaml \\
        -Pexp.log_dir={logs}
      dlbs bisect --list versions.txt --good 2.11 --bad 2.13 \\
        -- ./measure.sh {item} {logs}
    """
    from dlbs.results.statistics.bisect import Search, search

    if most_runs < FEWEST_RUNS and not trust_single_runs:
        raise LogError(
            f"a verdict requires {FEWEST_RUNS} runs",
            where=f"--most-runs {most_runs}",
            hint="increase it, or use --trust-single-runs",
        )
    names = _lines(list_file, good, bad) if list_file is not None else _commits(repo, good, bad)
    settings = {
        "command": list(command), "repo": None if list_file is not None else str(Path(repo).resolve()),
        "metric": metric, "threshold": share(threshold, "--threshold"), "confidence": share(confidence, "--confidence"),
        "trust_single_runs": trust_single_runs, "trust_doubtful": trust_doubtful,
    }  # fmt: skip
    opened = Search.open(Path(state), settings, names)
    click.echo(
        f"{len(names)} candidates, about {max(0, len(names) - 2).bit_length()} to measure between good and bad",
        err=True,
    )

    try:
        found = search(
            opened, lambda index: _measure(opened, index, most_runs), tell=lambda line: click.echo(line, err=True)
        )
    except KeyboardInterrupt:
        click.echo("interrupted; run the same command again to continue", err=True)
        raise
    first = [opened.candidates[index] for index in found]
    if as_json:
        print_json({"first": [one.name for one in first], "candidates": [asdict(one) for one in opened.candidates]})
    elif len(first) == 1:
        click.echo(f"{first[0].name} is the first bad candidate: {first[0].note}")
    else:
        click.echo(
            f"one of these is the first bad candidate; those between were skipped: {', '.join(one.name for one in first)}"
        )
    if list_file is None:
        shutil.rmtree(opened.directory / "checkout", ignore_errors=True)
        _git(repo, "worktree", "prune")
    if list_file is None and len(first) == 1:
        click.echo(_git(repo, "show", "--no-patch", "--format=%h %an %ad %s", first[0].name).strip())


def _lines(path: str, good: str, bad: str) -> list[str]:
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"cannot be read: {error}", where=path) from None
    names = [line for line in lines if line and not line.startswith("#")]
    for flag, name in (("--good", good), ("--bad", bad)):
        if names.count(name) != 1:
            raise LogError(f"{name!r} occurs {names.count(name)} times in the list", where=flag, hint=f"see {path}")
    if names.index(good) >= names.index(bad):
        raise LogError(f"{bad!r} is not after {good!r}", where="--bad", hint=f"order {path} from good to bad")
    return names[names.index(good) : names.index(bad) + 1]


def _commits(repo: str, good: str, bad: str) -> list[str]:
    first, last = (
        _git(repo, "rev-parse", "--verify", f"{name}^{{commit}}", flag=flag).strip()
        for flag, name in (("--good", good), ("--bad", bad))
    )
    between = _git(repo, "rev-list", "--reverse", "--first-parent", "--ancestry-path", f"{first}..{last}").split()
    if not between:
        raise LogError(
            f"{bad!r} is not a descendant of {good!r}",
            where="--bad",
            hint="git log --first-parent lists the commits",
        )
    return [first, *between]


def _git(repo: str, *arguments: str, flag: str = "--repo") -> str:
    try:
        done = subprocess.run(["git", "-C", repo, *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise LogError(f"git cannot be started: {error.strerror}", where=flag) from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise LogError(f"git failed: {lines[-1] if lines else done.returncode}", where=flag)
    return done.stdout


def _measure(state: Search, index: int, most_runs: int) -> str:
    """Measure a candidate until its comparison with the good one has a verdict, and record the reason."""
    from dlbs.config.load import load_config
    from dlbs.results.statistics.bisect import BAD, GOOD, SKIPPED
    from dlbs.results.statistics.compare import compare
    from dlbs.results.statistics.rules import Rules
    from dlbs.results.statistics.samples import usual_metric
    from dlbs.results.statistics.verdicts import INCONCLUSIVE

    candidate = state.candidates[index]
    trust = state.settings["trust_single_runs"]
    for wanted in range(1 if trust else FEWEST_RUNS, most_runs + 1):
        # The good candidate is measured as often, otherwise the interval could not become narrower.
        for one in dict.fromkeys((0, index)):
            while state.candidates[one].runs < wanted:
                problem = _run(state, one)
                if problem:
                    candidate.note = problem
                    return SKIPPED
        if index == 0:
            return GOOD
        sides = _records(state, 0), _records(state, index)
        comparison = compare(
            *sides,
            load_config().declarations,
            Rules(
                metric=state.settings["metric"] or usual_metric([*sides[0], *sides[1]]),
                threshold=state.settings["threshold"],
                confidence=state.settings["confidence"],
                simultaneous=True,
                trust_single_runs=trust,
                trust_doubtful=state.settings["trust_doubtful"],
            ),
        )
        worst = comparison.regressions or comparison.matches
        ratio = f", ratio {worst[0].estimate.ratio:.3f}" if worst[0].estimate else ""
        candidate.note = (
            f"{worst[0].verdict}: {worst[0].label}{ratio}, {candidate.runs} run{'s' if candidate.runs > 1 else ''}"
        )
        if comparison.regressions:
            return BAD
        if not any(match.verdict in {INCONCLUSIVE, "failed"} for match in comparison.matches):
            return GOOD
    candidate.note = f"inconclusive after {candidate.runs} runs"
    return SKIPPED


def _run(state: Search, index: int) -> str:
    """Run the command for a candidate once more; return the error, or an empty string."""
    candidate = state.candidates[index]
    logs = state.logs(index) / f"run{candidate.runs + 1}"
    shutil.rmtree(logs, ignore_errors=True)  # left by an interrupted run
    logs.mkdir(parents=True)
    places = {"{item}": candidate.name, "{logs}": str(logs.resolve())}
    command = [
        functools.reduce(lambda word, pair: word.replace(*pair), places.items(), word)
        for word in state.settings["command"]
    ]
    environment = {**os.environ, "DLBS_BISECT_ITEM": candidate.name, "DLBS_BISECT_LOGS": str(logs.resolve())}
    directory = _checkout(state, candidate.name) if state.settings["repo"] is not None else None
    output = logs.with_suffix(".output")
    with output.open("wb") as stream:
        try:
            code = subprocess.run(
                command, cwd=directory, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
            ).returncode
        except OSError as error:
            raise LogError(f"cannot be started: {error.strerror}", where=command[0]) from None
    if code == BISECT_SKIP:
        return "skipped by the command"
    candidate.runs += 1
    if not _records(state, index):
        candidate.runs -= 1
        return f"the command ended with {code} and left no log; see {output}"
    state.write()
    return ""


def _records(state: Search, index: int) -> list[Record]:
    from dlbs.results.read.records import load_records

    runs = [state.logs(index) / f"run{run + 1}" for run in range(state.candidates[index].runs)]
    try:
        return load_records([str(run) for run in runs], cached=False)
    except LogError:
        return []


def _checkout(state: Search, commit: str) -> Path:
    """Put the search's own checkout at a commit, without files left by the build of another one."""
    repo, directory = state.settings["repo"], (state.directory / "checkout").resolve()
    if (directory / ".git").exists():
        _git(str(directory), "checkout", "--quiet", "--force", "--detach", commit)
        _git(str(directory), "clean", "--quiet", "-ffdx")
    else:
        _git(repo, "worktree", "prune")
        _git(repo, "worktree", "add", "--quiet", "--force", "--detach", str(directory), commit)
    return directory
