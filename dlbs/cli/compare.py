"""The verbs `compare` and `bisect`: differences in speed, and the change that caused one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark_core.exits import OK, REGRESSION
from dlbs.cli.options import json_option, print_json, rules_options, verb
from dlbs.cli.store import url_option
from dlbs.cli.streams import note
from dlbs.cli.tables import (
    declarations,
    format_option,
    output_option,
    print_tables,
    read_source,
    source_options,
    write_text,
)
from dlbs.errors import LogError
from dlbs.results.statistics.ratio import ESTIMATORS, FEWEST_RUNS

if TYPE_CHECKING:
    from dlbs.results.statistics.ratio import Rules


@verb("compare", requires={"baseline": "by", "title": "page"})
@click.argument("paths", nargs=-1, metavar="A B | PATH... --by NAME")
@rules_options(
    "by", "baseline", "metric", "threshold", "confidence", "trust_single_runs", "trust_doubtful", "match", "ignore"
)
@click.option(
    "--simultaneous",
    is_flag=True,
    help="Apply the confidence level to all intervals together: wider intervals, fewer false alarms.",
)
@click.option(
    "--estimator",
    type=click.Choice(list(ESTIMATORS)),
    default="rank",
    show_default=True,
    help="Estimator of the ratio: ranks, which are robust to outliers, or means.",
)
@click.option(
    "--fail-on-regression",
    is_flag=True,
    help="Exit with 3 if anything is slower, broken or missing in B; with --by, requires --baseline.",
)
@click.option("--html", "page", metavar="FILE", help="Write an HTML page: verdicts, intervals, differences, runs.")
@click.option("--title", metavar="TEXT", help="With --html: title of the page.")
@format_option
@output_option
@source_options
def compare_command(
    paths: tuple[str, ...],
    rules: dict[str, Any],
    simultaneous: bool,
    estimator: str,
    fail_on_regression: bool,
    page: str | None,
    title: str | None,
    form: str,
    output_file: str | None,
    db: str | None,
    filter_query: str | None,
) -> int:
    """Compare experiments B with the baseline A, or values of a parameter, with verdicts: faster, slower, same, inconclusive.

    A and B are results files, logs or directories, or queries of a store (--db). Experiments are matched by the parameters that distinguish
    them within A or B; a parameter with one value in A and another in B is the one that is compared. A verdict requires three runs per side
    without warnings, and the whole confidence interval of the ratio on one side of the threshold.

    With --by, all paths or queries together are one set of experiments. Experiments that are equal except for the parameter are compared
    with the baseline.

    \b
    Examples:
      dlbs compare before.json after.json
      dlbs compare logs --by runtime.malloc --baseline system
      dlbs compare logs/main logs/branch --threshold 2% --fail-on-regression
      dlbs compare before.json after.json --html comparison.html
      dlbs compare fp32.json fp16.json --metric results.memory_device_reserved
      dlbs compare --db results.db '{"db.tags": "v1"}' '{"db.tags": "v2"}'
    """
    from dlbs.results.statistics.compare import compare, compare_by, side_by_side
    from dlbs.results.statistics.ratio import Rules
    from dlbs.results.tables.comparison import as_document, comparison_table, summary

    chosen = Rules(simultaneous=simultaneous, estimator=estimator, **rules)
    _check_usage(paths, chosen, fail_on_regression)
    sources = [paths] if chosen.by is not None else [[side] for side in paths]
    runs, sides = side_by_side([read_source(source, db, filter_query) for source in sources])
    chosen = chosen.for_results(runs)
    declared = declarations()
    made = (
        compare_by(runs, declared, chosen) if chosen.by is not None else compare(sides[0], sides[1], declared, chosen)
    )
    table = comparison_table(made)
    if page is not None:
        from dlbs.results.page.comparison import write_comparison

        write_comparison(page, made, table, title=title)
        note(f"{table.title} → {page}")
    elif form == "json":
        write_text(json.dumps(as_document(made), indent=1) + "\n", output_file)
    else:
        print_tables([table], form, output_file)
    note(summary(made))
    return REGRESSION if fail_on_regression and made.regressions else OK


def _check_usage(paths: Sequence[str], rules: Rules, fail_on_regression: bool) -> None:
    if rules.by is None:
        if len(paths) < 2:
            raise click.UsageError(
                f"Missing argument '{'AB'[len(paths)]}': give two sets of results, or --by NAME to compare within one"
            )
        if len(paths) > 2:
            raise click.UsageError(
                "A and B must be one path or query each; --by NAME compares within any number of them"
            )
    elif fail_on_regression and rules.baseline is None:
        raise click.UsageError("--fail-on-regression with --by requires --baseline VALUE")


@verb("bisect", requires={"db": "history"})
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True)
@click.option("--good", metavar="NAME", help="Candidate with the expected speed.")
@click.option("--bad", metavar="NAME", help="Later candidate that is slower.")
@click.option(
    "--history",
    metavar="WORDS",
    help="Instead of --good and --bad: the commits around the latest regression of an experiment in a store, as of dlbs db query --history.",
)
@url_option
@click.option("--repo", metavar="DIR", default=".", show_default=True, help="Git repository with the commits.")
@click.option("--list", "list_file", metavar="FILE", help="Search the lines of this file instead of commits.")
@click.option("--state", metavar="DIR", default="bisect", show_default=True, help="Directory for measurements.")
@rules_options(
    "metric",
    "threshold",
    "confidence",
    "trust_single_runs",
    "trust_doubtful",
    trust_single_runs="Give verdicts on fewer than 3 runs.",
)
@click.option(
    "--most-runs",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Maximum number of runs per candidate while the verdict is inconclusive.",
)
@json_option
def bisect_command(
    command: tuple[str, ...],
    good: str | None,
    bad: str | None,
    history: str | None,
    db: str,
    repo: str,
    list_file: str | None,
    state: str,
    rules: dict[str, Any],
    most_runs: int,
    as_json: bool,
) -> None:
    """Find the first commit, or the first line of a list, that is slower than the good one.

    COMMAND measures one candidate. {item} in it is the candidate's name, and {logs} the directory where it must write its logs;
    DLBS_BISECT_ITEM and DLBS_BISECT_LOGS have the same values. With commits, it runs in a separate checkout. Exit code 125 skips a
    candidate. The verdict is that of dlbs compare with the good candidate; while it is inconclusive, the candidate is measured again.
    After an interruption, run the same command again.

    \b
    Examples:
      dlbs bisect --good v1.0 --bad main -- dlbs run --plan plan.yaml \\
        -Pexp.log_dir={logs}
      dlbs bisect --db results.db --history 'resnet18 training' \\
        -- dlbs run --plan plan.yaml -Pexp.log_dir={logs}
      dlbs bisect --list versions.txt --good 2.11 --bad 2.13 \\
        -- ./measure.sh {item} {logs}
    """
    from dlbs.adaptive.bisect import Search, commits_between, git, lines_between, measure, search
    from dlbs.results.statistics.ratio import Rules

    chosen = Rules(**rules)
    if most_runs < FEWEST_RUNS and not chosen.trust_single_runs:
        raise LogError(
            f"a verdict requires {FEWEST_RUNS} runs",
            where=f"--most-runs {most_runs}",
            hint="increase it, or use --trust-single-runs",
        )
    if history is not None and (good or bad or list_file):
        raise click.UsageError("--history gives the commits: remove --good, --bad and --list")
    if history is not None:
        from dlbs.results.store.store import Store
        from dlbs.results.trends import regression_of

        with Store(db, create=False) as store:
            good, bad = regression_of(store, history, declarations(), chosen.metric)
        note(f"--good {good} --bad {bad}")
    elif good is None or bad is None:
        raise click.UsageError(f"Missing option '{'--bad' if good else '--good'}', or --history WORDS")
    names = lines_between(list_file, good, bad) if list_file is not None else commits_between(repo, good, bad)
    settings = {
        "command": list(command), "repo": None if list_file is not None else str(Path(repo).resolve()),
        "metric": chosen.metric, "threshold": chosen.threshold, "confidence": chosen.confidence,
        "trust_single_runs": chosen.trust_single_runs, "trust_doubtful": chosen.trust_doubtful,
    }  # fmt: skip
    opened = Search.open(Path(state), settings, names)
    note(f"{len(names)} candidates, about {max(0, len(names) - 2).bit_length()} to measure between good and bad")

    try:
        found = search(opened, lambda index: measure(opened, index, most_runs), tell=note)
    except KeyboardInterrupt:
        note("interrupted; run the same command again to continue")
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
        git(repo, "worktree", "prune")
    if list_file is None and len(first) == 1:
        click.echo(git(repo, "show", "--no-patch", "--format=%h %an %ad %s", first[0].name).strip())
