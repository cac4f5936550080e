"""The one-file report, and its parts for the live view."""

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
    """Write a self-contained page about experiments.

    Args:
        path: Path of the file.
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        logs: Logs that were just read and may be quoted and linked. The log paths in records are not trusted.
        chosen: Options of the page; links are relative to its path.

    Raises:
        LogError: matplotlib is not installed, or a kind of plot is unknown.
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
    """Render the page as text.

    Args:
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        logs: Logs that may be quoted.
        chosen: Options of the page.
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
    """Render the content of a live page, without head, foot and plots (`plots_html`).

    Args:
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        logs: Logs that may be quoted.
        live: Current progress, from `now_variables`.
    """
    return fragment("content.html", page_content(records, declarations, logs, live, _USUAL, later=True))


def plots_html(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> str:
    """Render the plots of a live page."""
    return fragment("plots.html", {"plots": figures_of(records, declarations)})


def live_page_html(content: str, title: str, version: str) -> str:
    """Render a live page around its content.

    Args:
        content: Trusted HTML from `content_html`.
        title: Title of the page.
        version: Version of the content; empty for a placeholder.
    """
    from markupsafe import Markup

    ready = {"ready": Markup(content)}
    return document("ready.html", REPORT_SCRIPTS, ready, title=title, live_path="/content", version=version)


def page_title(records: Sequence[Record]) -> str:
    """Title of a page: the project of the experiments, if they have one."""
    projects = {text(record["exp.project"]) for record in records if record.get("exp.project")}
    return f"{projects.pop()}: benchmark results" if len(projects) == 1 else "Benchmark results"
