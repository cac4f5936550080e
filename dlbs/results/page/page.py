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
from dlbs.results.read.onelog import Record
from dlbs.text import text

__all__ = ["content_html", "page_html", "write_page"]

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
    live: Mapping[str, Any] | None = None,
    live_path: str = "",
    chosen: Chosen = _USUAL,
) -> str:
    """Render the page as text.

    Args:
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        logs: Logs that may be quoted.
        live: Additional variables of the live view: `planned`, `done`, `owner`, `running`.
        live_path: Path that the live view polls for updates.
        chosen: Options of the page.
    """
    content = page_content(records, declarations, logs, live, chosen)
    title = chosen.title or _title(records)
    return document("content.html", REPORT_SCRIPTS, content, title=title, live_path=live_path)


def content_html(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    logs: Collection[str] = (),
    live: Mapping[str, Any] | None = None,
) -> str:
    """Render the content of the page, without head and foot."""
    return fragment("content.html", page_content(records, declarations, logs, live, _USUAL))


def _title(records: Sequence[Record]) -> str:
    projects = {text(record["exp.project"]) for record in records if record.get("exp.project")}
    return f"{projects.pop()}: benchmark results" if len(projects) == 1 else "Benchmark results"
