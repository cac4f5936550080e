"""The verb `compare`: two sets of results in, what changed and whether it is more than noise out."""

from __future__ import annotations

import json

import click

from dlbs.cli.options import CONTEXT, common_options, names_option
from dlbs.cli.sources import read_source, source_options
from dlbs.cli.tables import format_option, output_option, print_tables, write_text
from dlbs.errors import LogError
from dlbs.exit_codes import OK, REGRESSION
from dlbs.results.statistics.estimators import ESTIMATORS
from dlbs.text import printable

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
        raise LogError(f"{words!r} is no share", where=where, hint="write 3% or 0.03")
    return value


@click.command("compare", context_settings=CONTEXT)
@click.argument("a")
@click.argument("b")
@click.option("--metric", default="results.throughput", show_default=True, metavar="KEY", help="What is compared.")
@click.option("--threshold", default="3%", show_default=True, help="Differences up to this are none.")
@click.option("--confidence", default="95%", show_default=True, help="Confidence of each interval.")
@click.option(
    "--simultaneous", is_flag=True, help="Confidence of all intervals together: wider ones, fewer false alarms."
)
@click.option(
    "--estimator",
    type=click.Choice(list(ESTIMATORS)),
    default="rank",
    show_default=True,
    help="How the ratio is estimated: by ranks, which outliers move little, or by means.",
)
@click.option(
    "--trust-single-runs", is_flag=True, help="Give verdicts on fewer than 3 runs a side, and on doubtful ones."
)
@names_option("--match", "Match experiments by these parameters alone.")
@names_option("--ignore", "Parameters that do not distinguish experiments.")
@click.option("--fail-on-regression", is_flag=True, help="Exit with 3 if anything is slower, broken or missing in B.")
@format_option
@output_option
@source_options
@common_options
def compare_command(
    a: str,
    b: str,
    metric: str,
    threshold: str,
    confidence: str,
    simultaneous: bool,
    estimator: str,
    trust_single_runs: bool,
    match: list[str],
    ignore: list[str],
    fail_on_regression: bool,
    form: str,
    output_file: str | None,
    db: str | None,
    filter_query: str | None,
) -> int:
    """Compare experiments B with experiments A: what is faster, what is slower, what is inconclusive.

    A and B are results files, logs or directories, or queries of a store (--db). Experiments are matched by what distinguishes them within A
    or B; a parameter that has one value in A and another one in B is what is compared. A verdict needs three runs a side without warnings, and
    the whole confidence interval of the ratio on one side of the threshold.

    \b
    Examples:
      dlbs compare before.json after.json
      dlbs compare logs/main logs/branch --threshold 2% --fail-on-regression
      dlbs compare fp32.json fp16.json --metric results.memory_device_reserved
      dlbs compare --db results.db '{"db.tags": ".*v1.*"}' '{"db.tags": ".*v2.*"}'
    """
    from dlbs.config.load import load_config
    from dlbs.results.statistics.compare import compare
    from dlbs.results.tables.comparison import as_document, comparison_table, summary

    before, after = (read_source([side], db, filter_query) for side in (a, b))
    sure = share(confidence, "--confidence")
    if not 0.5 <= sure < 1:
        raise LogError("is no confidence", where=f"--confidence {confidence}", hint="give 50% to 99.99%")
    known = set().union(*before, *after)
    for flag, names in (("--metric", [metric]), ("--match", match), ("--ignore", ignore)):
        for name in names:
            if name not in known:
                raise LogError(f"no experiment has {name!r}", where=flag, hint="dlbs parse LOG shows the keys of a log")
    made = compare(
        before,
        after,
        load_config().declarations,
        metric=metric,
        threshold=share(threshold, "--threshold"),
        confidence=sure,
        simultaneous=simultaneous,
        estimator=estimator,
        trust_single_runs=trust_single_runs,
        match=match,
        ignore=ignore,
    )
    if form == "json":
        write_text(json.dumps(as_document(made), indent=1) + "\n", output_file)
    else:
        print_tables([comparison_table(made)], form, output_file)
    click.echo(printable(summary(made)), err=True)
    if fail_on_regression and made.regressions:
        return REGRESSION
    return OK
