"""The verb `compare`: significant differences between two sets of results, or between values of a parameter in one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dlbs.cli.options import CONTEXT, common_options, names_option
from dlbs.cli.sources import read_source, source_options
from dlbs.cli.tables import format_option, output_option, print_tables, write_text
from dlbs.errors import LogError
from dlbs.exit_codes import OK, REGRESSION
from dlbs.results.statistics.estimators import ESTIMATORS
from dlbs.text import printable

if TYPE_CHECKING:
    from dlbs.results.read.onelog import Record
    from dlbs.results.statistics.compare import Comparison
    from dlbs.results.statistics.rules import Rules
    from dlbs.results.statistics.within import ComparisonBy
    from dlbs.results.tables.table import Table

__all__ = ["compare_command", "share"]


def share(words: str, where: str) -> float:
    """A share written as `3%` or `0.03`.

    Raises:
        LogError: It is neither, or not from 0 to below 1.
    """
    try:
        value = float(words.removesuffix("%")) / (100 if words.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise LogError(f"{words!r} is not a share", where=where, hint="write 3% or 0.03")
    return value


@click.command("compare", context_settings=CONTEXT)
@click.argument("paths", nargs=-1, metavar="A B | PATH... --by NAME")
@click.option("--by", metavar="NAME", help="Compare the values of this parameter within one set of experiments.")
@click.option(
    "--baseline",
    metavar="VALUE",
    help="With --by: value to compare the others with; by default the first one in the plan.",
)
@click.option(
    "--metric",
    metavar="KEY",
    help="Quantity to compare: results.throughput, or results.time if no experiment has that.",
)
@click.option("--threshold", default="3%", show_default=True, help="Ignore differences up to this.")
@click.option("--confidence", default="95%", show_default=True, help="Confidence level of each interval.")
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
@click.option("--trust-single-runs", is_flag=True, help="Give verdicts on fewer than 3 runs per side.")
@click.option("--trust-doubtful", is_flag=True, help="Give verdicts on doubtful runs, those with warnings.")
@names_option("--match", "Match experiments by these parameters only.")
@names_option("--ignore", "Parameters that do not distinguish experiments.")
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
@common_options
def compare_command(
    paths: tuple[str, ...],
    by: str | None,
    baseline: str | None,
    metric: str | None,
    threshold: str,
    confidence: str,
    fail_on_regression: bool,
    page: str | None,
    title: str | None,
    form: str,
    output_file: str | None,
    db: str | None,
    filter_query: str | None,
    **options: Any,
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
    from dlbs.results.keys import check_known
    from dlbs.results.statistics.rules import Rules
    from dlbs.results.statistics.samples import none_ended_well, usual_metric

    _check_usage(paths, by, baseline, fail_on_regression)
    if title is not None and page is None:
        raise LogError("requires --html FILE", where="--title", hint="add it, or remove --title")
    sets = [
        read_source(source, db, filter_query) for source in ([paths] if by is not None else [[side] for side in paths])
    ]
    sure = share(confidence, "--confidence")
    if not 0.5 <= sure < 1:
        raise LogError("is not a valid confidence level", where=f"--confidence {confidence}", hint="give 50% to 99.99%")
    known = {name for records in sets for record in records for name in record}
    everything = [record for records in sets for record in records]
    if metric is None and (failed := none_ended_well(everything)):
        raise LogError(failed, hint="dlbs report prints the reasons")
    metric = metric or usual_metric(everything)
    rules = Rules(metric, share(threshold, "--threshold"), sure, **options)
    for flag, names in (("--metric", [metric]), ("--match", rules.match), ("--ignore", rules.ignore)):
        check_known(names, known, flag)
    shown = _compared(sets[0], sets[1], rules) if by is None else _compared_by(sets[0], by, baseline, rules)
    if page is not None:
        from dlbs.results.page.comparison import write_comparison

        write_comparison(page, shown.made, shown.table, title=title)
        click.echo(printable(f"{shown.table.title} → {page}"), err=True)
    elif form == "json":
        write_text(json.dumps(shown.document, indent=1) + "\n", output_file)
    else:
        print_tables([shown.table], form, output_file)
    click.echo(printable(shown.summary), err=True)
    return REGRESSION if fail_on_regression and shown.regressions else OK


def _check_usage(paths: Sequence[str], by: str | None, baseline: str | None, fail_on_regression: bool) -> None:
    if by is None:
        if len(paths) < 2:
            raise click.UsageError(
                f"Missing argument '{'AB'[len(paths)]}': give two sets of results, or --by NAME to compare within one"
            )
        if len(paths) > 2:
            raise click.UsageError(
                "A and B must be one path or query each; --by NAME compares within any number of them"
            )
        if baseline is not None:
            raise click.UsageError("--baseline requires --by NAME")
    elif fail_on_regression and baseline is None:
        raise click.UsageError("--fail-on-regression with --by requires --baseline VALUE")


class _Shown(NamedTuple):
    """The parts of a comparison that are printed, or shown on a page."""

    made: Comparison | ComparisonBy
    document: dict[str, Any]
    table: Table
    summary: str
    regressions: int


def _compared(a: list[Record], b: list[Record], rules: Rules) -> _Shown:
    from dlbs.config.load import load_config
    from dlbs.results.statistics.compare import compare
    from dlbs.results.tables.comparison import as_document, comparison_table, summary

    made = compare(a, b, load_config().declarations, rules)
    return _Shown(made, as_document(made), comparison_table(made), summary(made), len(made.regressions))


def _compared_by(records: list[Record], by: str, baseline: str | None, rules: Rules) -> _Shown:
    from dlbs.config.load import load_config
    from dlbs.results.statistics.within import compare_by
    from dlbs.results.tables.comparison_by import comparison_by_table, document_by, summary_by

    made = compare_by(records, load_config().declarations, rules, by=by, baseline=baseline)
    return _Shown(made, document_by(made), comparison_by_table(made), summary_by(made), len(made.regressions))
