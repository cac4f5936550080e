"""The one-file report: a page with everything that opens from the disk, and the parts of it that the live view shows."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.files import make_parent, write_atomically
from dlbs.results.page.content import page_content
from dlbs.results.read.onelog import Record
from dlbs.text import printable, text
from dlbs.version import __version__

__all__ = ["content_html", "page_html", "write_page"]

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    path: str, records: Sequence[Record], declarations: Mapping[str, Parameter], *, logs: Collection[str] = ()
) -> None:
    """Write a page about experiments that needs no network and no other file.

    Args:
        path: Where to.
        records: The experiments.
        declarations: Say which parameters identify an experiment.
        logs: Logs whose ends may be shown: those that were read just now. What a record says of its log's place is not trusted.

    Raises:
        LogError: matplotlib is not installed.
        ConfigError: The file cannot be written.
    """
    page = page_html(records, declarations, logs=logs)
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
) -> str:
    """The page as text.

    Args:
        records: The experiments.
        declarations: Say which parameters identify an experiment.
        logs: Logs whose ends may be shown.
        live: What the live view adds: `planned`, `done`, `owner`, `running`.
        live_path: Where the live view looks for news.
    """
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return str(
        _environment()
        .get_template("report.html")
        .render(
            title=_title(records),
            version=__version__,
            made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            live=live is not None,
            live_path=live_path,
            **page_content(records, declarations, logs, live),
        )
    )


def content_html(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    logs: Collection[str] = (),
    live: Mapping[str, Any] | None = None,
) -> str:
    """What stands between the head and the foot of the page."""
    return str(_environment().get_template("content.html").render(**page_content(records, declarations, logs, live)))


def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown
    )


def _shown(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _title(records: Sequence[Record]) -> str:
    projects = {text(record["exp.project"]) for record in records if record.get("exp.project")}
    return f"{projects.pop()}: benchmark results" if len(projects) == 1 else "Benchmark results"
