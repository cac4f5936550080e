"""The verb `plot`: results in, an image out."""

from __future__ import annotations

import click

from dlbs.cli.options import CONTEXT, common_options
from dlbs.cli.sources import read_source, source_options
from dlbs.results.plots.kinds import KINDS
from dlbs.text import counted

__all__ = ["plot_command"]


@click.command("plot", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(KINDS)),
    default="throughput",
    show_default=True,
    help="What is drawn.",
)
@click.option("--output-file", "-o", metavar="FILE", required=True, help="Where to write it: .png or .svg.")
@click.option("--value", metavar="KEY", help="Another quantity than throughput, for throughput, bars and heatmap.")
@click.option("--title", metavar="TEXT", help="Title of the plot.")
@click.option("--log-scale/--linear-scale", default=None, help="Axis of the quantity; by default what suits its range.")
@click.option("--peak-tflops", type=float, metavar="N", help="Roofline: peak of the device, 10^12 operations a second.")
@click.option("--peak-bandwidth", type=float, metavar="N", help="Roofline: memory bandwidth, 10^9 bytes a second.")
@source_options
@common_options
def plot_command(
    paths: tuple[str, ...],
    kind: str,
    output_file: str,
    value: str | None,
    title: str | None,
    log_scale: bool | None,
    peak_tflops: float | None,
    peak_bandwidth: float | None,
    db: str | None,
    filter_query: str | None,
) -> None:
    """Draw results: throughput over batch sizes, scaling, bars, a time series, a heat map, a roofline.

    PATH is as for dlbs report. Lines and bars are medians; error bars are the intervals of repeated runs.

    \b
    Examples:
      dlbs plot results.json -o throughput.png
      dlbs plot logs --type bars --value results.time_p99 -o latency.svg
      dlbs plot logs --type strong -o scaling.png
      dlbs plot logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log --type series -o series.png
      dlbs plot logs --type roofline --peak_tflops 0.2 --peak_bandwidth 40 -o roofline.png
    """
    from dlbs.config.load import load_config
    from dlbs.results.plots.figure import draw, save
    from dlbs.results.plots.options import Options

    records = read_source(paths, db, filter_query)
    options = Options(value, title, log_scale, peak_tflops, peak_bandwidth)
    save(draw(kind, records, load_config().declarations, options), output_file)
    click.echo(f"{counted(len(records), 'experiment')} → {output_file}", err=True)
