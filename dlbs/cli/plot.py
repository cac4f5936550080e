"""The verb `plot`: plot results to an image file."""

from __future__ import annotations

import click

from dlbs.cli.options import CONTEXT, common_options, names_option
from dlbs.cli.sources import read_source, source_options
from dlbs.errors import LogError
from dlbs.results.plots.appearance import STYLES
from dlbs.results.plots.kinds import KINDS
from dlbs.text import counted, printable

__all__ = ["plot_command"]

_STYLE_HELP = "; ".join(f"{name}: {words}" for name, (*_, words) in STYLES.items()) + "."


@click.command("plot", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(KINDS)),
    metavar="KIND",
    help=f"Kind of plot: {', '.join(KINDS)}. By default throughput (bars without batch sizes), or axes if one of --x, --y, --series, --facet "
    "or --baseline is given.",
)
@click.option("--output-file", "-o", metavar="FILE", required=True, help="Output file: .png, .svg or .pdf.")
@click.option("--value", metavar="KEY", help="Quantity to plot instead of the default.")
@click.option(
    "--x",
    metavar="KEY",
    help="Horizontal axis: a parameter, numeric or text, or a result; replica batch by default. History: tags or commits.",
)
@names_option("--y", "Quantities, one row of panels each; throughput by default.")
@names_option("--series", "Parameters that separate lines; other differing ones separate them too.")
@names_option("--facet", "Parameters that separate panels, which share their scales.")
@click.option(
    "--baseline",
    metavar="NAME=VALUE",
    multiple=True,
    help="Divide each value by that of the experiment that has this value and is otherwise equal.",
)
@names_option("--mark", "History: tags or commits to mark.")
@click.option("--title", metavar="TEXT", help="Title of the plot.")
@click.option("--style", type=click.Choice(list(STYLES)), default="light", help=_STYLE_HELP)
@click.option("--size", metavar="WxH", help="Size of the figure: 8x5 (inches), 16x9cm, 120x80mm or 1200x700px.")
@click.option(
    "--log-scale/--linear-scale", default=None, help="Scale of the quantity's axis; by default chosen by its range."
)
@click.option("--log-x/--linear-x", default=None, help="Scale of the horizontal axis; by default chosen by its values.")
@click.option(
    "--peak-tflops", type=float, metavar="N", help="Roofline: peak of the device, in 10^12 operations per second."
)
@click.option("--peak-bandwidth", type=float, metavar="N", help="Roofline: memory bandwidth, in 10^9 bytes per second.")
@source_options
@common_options
def plot_command(
    paths: tuple[str, ...],
    kind: str | None,
    output_file: str,
    value: str | None,
    x: str | None,
    y: list[str],
    series: list[str],
    facet: list[str],
    baseline: tuple[str, ...],
    mark: list[str],
    title: str | None,
    style: str,
    size: str | None,
    log_scale: bool | None,
    log_x: bool | None,
    peak_tflops: float | None,
    peak_bandwidth: float | None,
    db: str | None,
    filter_query: str | None,
) -> None:
    """Plot results: throughput over batch sizes, scaling, bars, distributions, time series,
    heat maps, latency, accuracy, history, a roofline, or any axes.

    PATH is as for dlbs report. Lines and bars are medians; the text below a plot explains its error bars and bands. Experiments that
    differ in more than the horizontal axis, series, facets and repeat get separate lines.

    \b
    Examples:
      dlbs plot results.json -o throughput.png
      dlbs plot logs --x pytorch.num_threads \\
        --y results.throughput,results.memory_host --series exp.model \\
        -o threads.png
      dlbs plot logs --x exp.replica_batch --series exp.model --facet exp.dtype \\
        --baseline exp.framework=pytorch -o frameworks.png
      dlbs plot logs --type bars --value results.time_p99 -o latency.svg
      dlbs plot logs --type strong -o scaling.png
      dlbs plot logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log \\
        --type series -o series.png
      dlbs plot logs --type distribution --style paper --size 8x6cm -o runs.pdf
      dlbs plot --db results.db '{"exp.model": "resnet50"}' \\
        --type history --mark v7 -o history.svg
      dlbs plot logs --type latency-load -o load.png
      dlbs plot logs --type roofline --peak_tflops 0.2 --peak_bandwidth 40 \\
        -o roofline.png
    """
    if "".join(series).startswith(("[", "{")):  # filters, as accepted by the original's series builder
        hint = 'write --series exp.model, and select experiments with --filter-query \'{"exp.model": "resnet50"}\''
        raise LogError("requires names of parameters", where="--series", hint=hint)
    from dlbs.config.load import load_config
    from dlbs.results.plots.figure import draw, save
    from dlbs.results.plots.options import Options, kind_for

    options = Options(
        value,
        title,
        log_scale,
        peak_tflops,
        peak_bandwidth,
        x,
        y,
        series,
        facet,
        dict(map(_name_and_value, baseline)),
        log_x,
        style,
        size,
        mark,
    )
    records = read_source(paths, db, filter_query)
    save(draw(kind_for(kind, options, records), records, load_config().declarations, options), output_file)
    click.echo(printable(f"{counted(len(records), 'experiment')} → {output_file}"), err=True)


def _name_and_value(words: str) -> tuple[str, str]:
    name, equals, value = words.partition("=")
    if not (name and equals):
        raise LogError(f"{words!r} is not NAME=VALUE", where="--baseline", hint="such as exp.framework=pytorch")
    return name, value
