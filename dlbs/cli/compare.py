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
from benchmark_core.text import printable
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
from dlbs.core.errors import LogError
from dlbs.results.statistics.ratio import ESTIMATORS

if TYPE_CHECKING:
    from dlbs.results.statistics.compare import Comparison, ComparisonBy
    from dlbs.results.statistics.ratio import Rules


@verb("compare", requires={"baseline": "by", "title": "page"})
@click.argument("paths", nargs=-1, metavar="A B | PATH... --by NAME")
@rules_options(
    "by", "baseline", "metric", "threshold", "confidence", "trust_single_runs", "trust_doubtful", "match", "ignore",
    by="Parameter whose values are compared, within one set of experiments; several (NAME,NAME) for their combinations.",
)  # fmt: skip
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
@click.option("--names", metavar="A,B", help="Names of A and B in tables, pages and JSON, such as before,after.")
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
    names: str | None,
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
      dlbs compare logs --by runtime.malloc,exp.dtype --baseline system,float32
      dlbs compare logs/main logs/branch --threshold 2% --fail-on-regression
      dlbs compare before.json after.json --names main,branch --html page.html
      dlbs compare fp32.json fp16.json --metric results.memory_device_reserved
      dlbs compare --db results.db '{"db.tags": "v1"}' '{"db.tags": "v2"}'
    """
    from dlbs.results.statistics.compare import compare, compare_by, side_by_side
    from dlbs.results.statistics.ratio import Rules
    from dlbs.results.tables.comparison import as_document, comparison_table, summary

    chosen = Rules(simultaneous=simultaneous, estimator=estimator, **rules)
    _check_usage(paths, chosen, fail_on_regression)
    titles = _names(names, chosen)
    sources = [paths] if chosen.by is not None else [[side] for side in paths]
    runs, sides = side_by_side([read_source(source, db, filter_query) for source in sources])
    chosen = chosen.for_results(runs)
    made: Comparison | ComparisonBy
    if chosen.by is not None:
        made = compare_by(runs, chosen)
    else:
        made = compare(sides[0], sides[1], chosen, sides=titles, sources=paths)
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


def _names(words: str | None, rules: Rules) -> tuple[str, str]:
    """Names of the two sides."""
    if words is None:
        return "A", "B"
    if rules.by is not None:
        raise click.UsageError("--names: with --by, the sides are the values of the parameter: remove --names")
    names = [printable(name).strip() for name in words.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise click.UsageError(f"--names {words!r}: write two different names, such as --names before,after")
    return names[0], names[1]


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
    "trust_doubtful",
    threshold="The bad end must be slower by more than this share.",
    confidence="Confidence level of the answer.",
    trust_doubtful="Also use runs with warnings.",
)
@click.option(
    "--most-runs",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Maximum number of rounds per candidate while the verdict is inconclusive.",
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
    candidate.

    Each round runs the good candidate and another one, in turns if the programs of COMMAND can take them, otherwise one after the other in
    random order. A candidate is bad if it is beyond the middle between both ends, which five or more rounds show with the given confidence.
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
    from dlbs.adaptive.bisect import Search, commits_between, lines_between, measure, search, titles_of
    from dlbs.results.statistics.ratio import Rules
    from dlbs.results.statistics.sequential import FIRST_LOOK
    from dlbs.run.exact import git

    chosen = Rules(**rules)
    if most_runs < FIRST_LOOK:
        raise LogError(f"a verdict requires {FIRST_LOOK} rounds", where=f"--most-runs {most_runs}", hint="increase it")
    if history is not None and (good or bad or list_file):
        raise click.UsageError("--history gives the commits: remove --good, --bad and --list")
    if history is not None:
        from dlbs.results.store.store import Store
        from dlbs.results.trends import regression_of

        with Store(db, create=False, declarations=declarations()) as store:
            good, bad = regression_of(store, history, chosen.metric)
        note(f"--good {good} --bad {bad}")
    elif good is None or bad is None:
        raise click.UsageError(f"Missing option '{'--bad' if good else '--good'}', or --history WORDS")
    if list_file is not None:
        titles = {name: name for name in lines_between(list_file, good, bad)}
    else:
        titles = titles_of(repo, commits_between(repo, good, bad))
    settings = {
        "command": list(command), "repo": None if list_file is not None else str(Path(repo).resolve()),
        "metric": chosen.metric, "threshold": chosen.threshold, "confidence": chosen.confidence,
        "trust_doubtful": chosen.trust_doubtful,
    }  # fmt: skip
    opened = Search.open(Path(state), settings, titles)
    note(f"{len(titles)} candidates, about {max(0, len(titles) - 2).bit_length()} to measure between good and bad")

    try:
        found = search(opened, lambda index: measure(opened, index, most_runs), tell=note)
    except KeyboardInterrupt:
        note("interrupted; run the same command again to continue")
        raise
    first = [opened.candidates[index] for index in found]
    if as_json:
        print_json({"first": [one.name for one in first], "candidates": [asdict(one) for one in opened.candidates]})
    elif len(first) == 1:
        click.echo(f"{first[0].title} is the first bad candidate: {first[0].note}")
    else:
        click.echo(
            f"one of these is the first bad candidate; those between were skipped: {', '.join(one.title for one in first)}"
        )
        for one in first[:-1]:
            click.echo(f"  {one.title}: {one.note}")
    if list_file is None:
        for name in ("good", "checkout"):
            shutil.rmtree(opened.directory / name, ignore_errors=True)
        git(repo, "worktree", "prune")
    if list_file is None and len(first) == 1 and not as_json:
        click.echo(git(repo, "show", "--no-patch", "--format=%h %an %ad %s", first[0].name).strip())
