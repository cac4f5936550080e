"""The page of results: its data (experiments, facets, batch times), tables and plots, as one file or as the content of the live view."""

from __future__ import annotations

import base64
import os
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from dlbs.core.errors import LogError, registered
from dlbs.core.experiment import USUAL_READS, usual_names
from dlbs.core.files import make_parent, write_atomically
from dlbs.core.text import are_finite, counted, text
from dlbs.results.columns import plain
from dlbs.results.grouping import common_label, identity_names, label_names
from dlbs.results.keys import column_title, quantity_of, unit_of
from dlbs.results.page.assets import REPORT_SCRIPTS, coded, document, five_digits, lists, parameter_column
from dlbs.results.page.summary import BAD, failures_of, machines_of, reason_of, tiles_of, where_measured
from dlbs.results.plots.kinds import KINDS, applicable_kinds, draw, svg, title_of
from dlbs.results.runs import Runs
from dlbs.results.tables.cells import interval_of_run
from dlbs.results.tables.report import default_tables
from dlbs.results.tables.scaling import devices, scaling_tables
from dlbs.results.tables.table import Table

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_STEPS = len(_PAIRS) - 1  # a number is one of 4096 between the least and the greatest of its run
_MOST_POINTS, _FEWEST, _MOST = 200_000, 20, 1000  # of all runs together, and of each


def batch_times(runs: Runs) -> list[list[Any] | None]:
    """The times of the timed batches of each run, in ms; None for a run that has none, and for those after the first 10,000.

    Returns:
        For each run: how many batches are one point (their median), how many batches there are, the least and the greatest point, and the points as
        text: two letters of `ALPHABET` each, a number to the base of 64 that says how far from the least to the greatest it is.
    """
    column = runs.table.column("results.time_data")
    if column is None:
        return [None] * len(runs)
    statuses, codes = runs.statuses, runs.codes(column)
    having = [at for at, status in enumerate(statuses) if codes[at] >= 0 and status == "ok"]
    most = min(_MOST, max(_FEWEST, _MOST_POINTS // max(1, len(having))))
    found: list[list[Any] | None] = [None] * len(runs)
    for at in having[: _MOST_POINTS // _FEWEST]:
        times = plain(column.values[codes[at]])
        if isinstance(times, list) and len(times) > 1 and are_finite(times):
            found[at] = _packed(times, most)
    return found


def _packed(times: list[float], most: int) -> list[Any]:
    together = -(-len(times) // most)
    if together > 1:
        points = [statistics.median_high(times[at : at + together]) for at in range(0, len(times), together)]
    else:
        points = times
    low, high = float(min(points)), float(max(points))
    scale = _STEPS / (high - low) if high > low else 0.0
    words = "".join([_PAIRS[int((point - low) * scale + 0.5)] for point in points])
    return [together, len(times), low, high, words]


_MANY = 10_000  # experiments from which digits that nobody reads are left out
_MOST_FACETS, _MOST_VALUES = 40, 500  # limits for parameters that are not needed to distinguish experiments
_FIGURES = (
    "results.accuracy_top1", "results.throughput", "results.time", "results.time_p99", "results.memory_host",
    "results.memory_device_reserved", "results.energy_per_instance", "results.mfu",
)  # fmt: skip
_MACHINE = ("exp.env.host", "exp.device_title", "exp.framework_version")


def facet_names(runs: Runs, labels: Sequence[str]) -> list[str]:
    """Further varied parameters for filters: those that follow from the labels, and the machines.

    A parameter with a different value for nearly every experiment is not a facet.
    """
    others = [name for name in (*_MACHINE, *identity_names(runs)) if name not in labels]
    found = []
    for name in dict.fromkeys(others):
        if 1 < len(runs.distinct(name)) <= min(_MOST_VALUES, max(2, len(runs) // 2)):
            found.append(name)
    return found[:_MOST_FACETS]


def experiment_data(
    runs: Runs, labels: Sequence[str], *, logs: Collection[str] = (), beside: str | None = None
) -> dict[str, Any]:
    """Data for rows, facets and plots of the page's script; plain data with finite numbers.

    Args:
        runs: The experiments, in the order of the table.
        labels: The parameters that distinguish them, from `label_names`.
        logs: Logs that were just read and may be linked. The log paths in records are not trusted.
        beside: Directory of the page, for relative links; None for a page without links to files.

    Returns:
        `count`, `common` (common parameters), `parameters` (title, `parameter_column`, `label` if it tells experiments apart), `status`, `warnings`,
        `reasons`, `figures` (key, title, digits as logged), `batches` (from `batch_times`), `logs` (a common prefix and the rest), `links`.
    """
    if not labels:
        labels = list(dict.fromkeys(name for names in runs.each(USUAL_READS, usual_names) for name in names))
    others = facet_names(runs, labels)
    statuses = runs.statuses
    titles = {name: column_title(name) for name in (*labels, *others)}
    clear = len(set(titles.values())) == len(titles)
    places = list(map(text, runs.values("exp.log_file")))
    prefix = _common_directory(places)
    return {
        "count": len(runs),
        "common": common_label(runs, without=labels) if runs else "",
        "parameters": [
            {
                "name": name,
                "title": titles[name] if clear else name,
                "label": name in labels,
                **parameter_column(runs, name),
            }
            for name in (*labels, *others)
        ],
        "status": coded(statuses),
        "bad": sorted(BAD),
        "warnings": lists(runs.doubts),
        "reasons": coded(
            [
                reason_of(status, message) if status in BAD else ""
                for status, message in zip(statuses, runs.values("exp.status_msg"), strict=True)
            ]
        ),
        "figures": _figures(runs),
        "batches": batch_times(runs),
        "logs": {"prefix": prefix, "rest": [place[len(prefix) :] for place in places]},
        "links": _links(places, frozenset(logs), beside),
    }


def _figures(runs: Runs) -> list[dict[str, Any]]:
    """Quantities that some experiment logged: key, title, the value of each experiment, None if it has none, and `bounds`, the interval of each, if
    any has one.

    In a page of many experiments, values have nine digits, and no intervals.
    """
    figures = []
    for key in _FIGURES:
        values = runs.numbers(key)
        if any(value is not None for value in values):
            title = quantity_of(key, runs)
            if unit_of(key) == "bytes":  # one unit, whatever experiments come later
                title = title._replace(unit="MiB", factor=1 / (1 << 20))
            is_short = len(runs) > _MANY
            figure: dict[str, Any] = {
                "key": key,
                "title": str(title),
                "values": [_scaled(value, title.factor, is_short=is_short) for value in values],
            }
            bounds = [] if is_short else [interval_of_run(run, key) for run in runs]
            if any(bounds):
                figure["bounds"] = [one and [five_digits(one.low), five_digits(one.high)] for one in bounds]
            figures.append(figure)
    return figures


def _scaled(value: float | None, scale: float, *, is_short: bool) -> float | None:
    if value is None:
        return None
    scaled = value * scale
    if abs(scaled) >= 1e300:
        return None
    return float(f"{scaled:.9g}") if is_short else scaled


def _common_directory(places: Sequence[str]) -> str:
    """Common leading directories of paths, with a trailing slash; empty if there are none."""
    prefix = os.path.commonprefix([place for place in places if place])  # noqa: RUF071  # cut off below
    return prefix[: prefix.rfind("/") + 1]


def _links(places: Sequence[str], logs: Collection[str], beside: str | None) -> dict[str, Any]:
    """Relative address of the log of each experiment: a common prefix, and the rest or None without a file."""
    addresses = [_address(place, logs, beside) for place in places]
    prefix = _common_directory([address for address in addresses if address])
    return {"prefix": prefix, "rest": [None if address is None else address[len(prefix) :] for address in addresses]}


def _address(place: str, logs: Collection[str], beside: str | None) -> str | None:
    """Relative address of a log, prefixed with `./`, so that it has no URL scheme; members of archives are not files."""
    if beside is None or place not in logs or not Path(place).is_file():
        return None
    return f"./{quote(os.fsencode(os.path.relpath(place, beside)))}"


_PIXELS = 96  # in an inch, in CSS


class Plot(NamedTuple):
    """A plot on the page.

    Attributes:
        kind: A key of the registry of plots.
        title: Its title.
        source: An image as a `data:` URL; empty if it could not be drawn.
        reason: Error with a hint; empty if it was drawn.
        size: Width and height in CSS pixels, which reserve its place on the page.
    """

    kind: str
    title: str
    source: str
    reason: str
    size: tuple[int, int] = (0, 0)


def figures_of(runs: Runs, kinds: Sequence[str] | None = None) -> list[Plot]:
    """Draw plots of some kinds; a plot that cannot be drawn has a reason instead of an image.

    Args:
        runs: The experiments.
        kinds: Keys of the registry of plots; None for all that are applicable to the results.

    Raises:
        LogError: A kind is unknown, or matplotlib is not installed.
    """
    for kind in kinds or ():
        registered(KINDS, kind, "kind of plot")
    plots = []
    for kind in applicable_kinds(runs) if kinds is None else dict.fromkeys(kinds):
        try:
            figure = draw(kind, runs)
        except LogError as error:
            plots.append(Plot(kind, KINDS[kind][1], "", str(error)))
            continue
        # As an image, so that it cannot run code or clash with ids of the page.
        image = f"data:image/svg+xml;base64,{base64.b64encode(svg(figure).encode()).decode()}"
        width, height = (round(_PIXELS * inches) for inches in figure.get_size_inches())
        plots.append(Plot(kind, title_of(figure), image, "", (width, height)))
    return plots


_MOST_TABLES, _MOST_ROWS = 12, 500  # limits of a page; `dlbs report` prints everything
_MOST_NOTES = 10


@dataclass(frozen=True, slots=True)
class Chosen:
    """Options of the page.

    Attributes:
        title: Its title; None for the default one.
        kinds: Kinds of plots to show; None for all that are applicable to the results.
        changes: Comparison with earlier results by `changes_since`, for the summary.
        beside: Directory of the page, for relative links to logs; None for a page without links to files.
    """

    title: str | None = None
    kinds: Sequence[str] | None = None
    changes: Mapping[str, Any] | None = None
    beside: str | None = None


def page_content(
    runs: Runs,
    logs: Collection[str],
    live: Mapping[str, Any] | None,
    chosen: Chosen,
    *,
    later: bool = False,
) -> dict[str, Any]:
    """Compute the variables of the template.

    Args:
        runs: The experiments.
        logs: Logs that may be quoted and linked.
        live: Additional variables of the live view.
        chosen: Options of the page.
        later: Count the plots, which a live page asks for separately, instead of drawing them.
    """
    readable = frozenset(logs)
    made = _tables(runs)
    labels = label_names(runs)
    failures = failures_of(runs, readable, labels)
    failed = sum(status in BAD for status in runs.statuses)
    return {
        "running": None,
        "problems": [],
        "planned": 0,
        "done": 0,
        "owner": None,
        **(live or {}),
        "count": len(runs),
        "tiles": tiles_of(runs),
        "where": where_measured(runs),
        "notes": _notes(runs),
        "changes": chosen.changes,
        "repeat": "dlbs rerun LOG repeats an experiment and replaces its log; bash LOG.sh only runs its launcher and prints the log.",
        "tables": made[:_MOST_TABLES],
        "more_tables": max(0, len(made) - _MOST_TABLES),
        "most_rows": _MOST_ROWS,
        "plots": figures_of(runs, chosen.kinds) if runs and not later else [],
        "plots_later": len(applicable_kinds(runs)) if later else 0,
        "failures": failures,
        "failed": failed,
        "other_reasons": failed - sum(failure["count"] for failure in failures),
        "machines": machines_of(runs),
        "data": experiment_data(runs, labels, logs=readable, beside=chosen.beside),
    }


def _tables(runs: Runs) -> list[Table]:
    if not runs:
        return []
    tables = default_tables(runs)
    if len({devices(run) for run in runs}) > 1:
        for kind in ("weak", "strong"):
            made = scaling_tables(runs, kind)
            tables += [
                table for table in made if table.title.startswith(("Speed-up", "Efficiency")) and _is_full(table)
            ]
    return tables


def _is_full(table: Table) -> bool:
    """Whether some row has two numbers, as needed for scaling."""
    return any(sum(isinstance(cell.value, float) for cell in row) > 1 for row in table.cells)


def _notes(runs: Runs) -> list[str]:
    """Warnings about numbers, each once with its number of experiments."""
    counts = Counter(kind for kinds in runs.doubts for kind in kinds)
    return [f"{counted(count, 'experiment')}: {line}" for line, count in counts.most_common(_MOST_NOTES)]


_USUAL = Chosen()


def write_page(path: str, runs: Runs, *, logs: Collection[str] = (), chosen: Chosen = _USUAL) -> None:
    """Write a self-contained page about experiments.

    Args:
        path: Path of the file.
        runs: The experiments.
        logs: Logs that were just read and may be quoted and linked. The log paths in records are not trusted.
        chosen: Options of the page; links are relative to its path.

    Raises:
        LogError: matplotlib is not installed, or a kind of plot is unknown.
        ConfigError: The file cannot be written.
    """
    beside = os.path.dirname(os.path.abspath(path))
    page = page_html(runs, logs=logs, chosen=replace(chosen, beside=beside))
    make_parent(path)
    with write_atomically(path) as stream:
        stream.write(page)


def page_html(runs: Runs, *, logs: Collection[str] = (), chosen: Chosen = _USUAL) -> str:
    """Render the page as text.

    Args:
        runs: The experiments.
        logs: Logs that may be quoted.
        chosen: Options of the page.
    """
    content = page_content(runs, logs, None, chosen)
    return document("content.html", REPORT_SCRIPTS, content, title=chosen.title or page_title(runs))


def live_page_html(content: str, title: str, version: str) -> str:
    """Render a live page around its content.

    Args:
        content: Trusted HTML of the template `content.html`, with the variables of `page_content`.
        title: Title of the page.
        version: Version of the content; empty for a placeholder.
    """
    from markupsafe import Markup

    ready = {"ready": Markup(content)}
    return document("ready.html", REPORT_SCRIPTS, ready, title=title, live_path="/content", version=version)


def page_title(runs: Runs) -> str:
    """Title of a page: the project of the experiments, if they have one."""
    projects = {text(project) for project in runs.distinct("exp.project") if project}
    return f"{projects.pop()}: benchmark results" if len(projects) == 1 else "Benchmark results"
