"""The one-file report: a page with everything that opens from the disk, and the parts of it that the live view shows."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.files import make_parent, write_atomically
from dlbs.results.page.assets import REPORT_SCRIPTS, document, fragment
from dlbs.results.page.content import Chosen, page_content
from dlbs.results.page.figures import figures_of
from dlbs.results.read.onelog import Record
from dlbs.text import text

__all__ = ["content_html", "live_page_html", "page_html", "page_title", "plots_html", "write_page"]

_USUAL = Chosen()


def write_page(
    path: str,
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    logs: Collection[str] = (),
    chosen: Chosen = _USUAL,
) -> None:
    """Write a page about experiments that needs no network and no other file.

    Args:
        path: Where to.
        records: The experiments.
        declarations: Say which parameters identify an experiment.
        logs: Logs whose ends may be shown, and which may be linked to: those that were read just now. What a record says of its log's place is not
            trusted.
        chosen: What was chosen about the page; links are relative to its path.

    Raises:
        LogError: matplotlib is not installed, or there is no such kind of plot.
        ConfigError: The file cannot be written.
    """
    beside = os.path.dirname(os.path.abspath(path))
    page = page_html(records, declarations, logs=logs, chosen=replace(chosen, beside=beside))
    make_parent(path)
    with write_atomically(path) as stream:
        stream.write(page)


def page_html(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    logs: Collection[str] = (),
    chosen: Chosen = _USUAL,
) -> str:
    """The page as text.

    Args:
        records: The experiments.
        declarations: Say which parameters identify an experiment.
        logs: Logs whose ends may be shown.
        chosen: What was chosen about the page.
    """
    content = page_content(records, declarations, logs, None, chosen)
    return document("content.html", REPORT_SCRIPTS, content, title=chosen.title or page_title(records))


def content_html(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    logs: Collection[str] = (),
    live: Mapping[str, Any],
) -> str:
    """What stands between the head and the foot of a live page. Its plots are drawn later, by `plots_html`.

    Args:
        records: The experiments.
        declarations: Say which parameters identify an experiment.
        logs: Logs whose ends may be shown.
        live: What happens now, as `now_variables` says it.
    """
    return fragment("content.html", page_content(records, declarations, logs, live, _USUAL, later=True))


def plots_html(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> str:
    """The plots of a live page."""
    return fragment("plots.html", {"plots": figures_of(records, declarations)})


def live_page_html(content: str, title: str, version: str) -> str:
    """A live page around a content.

    Args:
        content: HTML of our own templates.
        title: Of the page.
        version: Of the content; empty for one that stands in its place until it is there.
    """
    from markupsafe import Markup

    ready = {"ready": Markup(content)}
    return document("ready.html", REPORT_SCRIPTS, ready, title=title, live_path="/content", version=version)


def page_title(records: Sequence[Record]) -> str:
    """The project of the experiments, if they have one."""
    projects = {text(record["exp.project"]) for record in records if record.get("exp.project")}
    return f"{projects.pop()}: benchmark results" if len(projects) == 1 else "Benchmark results"
