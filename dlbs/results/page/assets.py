"""Assemble pages: embedded styles and scripts, the content security policy, and escaping of values."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.text import printable
from dlbs.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["COMPARISON_SCRIPTS", "REPORT_SCRIPTS", "document", "embedded", "fragment", "shown"]

_HERE = Path(__file__).parent
_TEMPLATES, _UPLOT = _HERE / "templates", _HERE / "vendor" / "uplot"

_PLAIN = frozenset({int, float, bool, type(None)})
_SELF, _NONE = "'self'", "'none'"
# Parts of a page's script, in the order in which they run.
_COMMON = ("values.js", "table.js", "facets.js", "canvas.js")
REPORT_SCRIPTS = (*_COMMON, "chart.js", "batches.js", "experiments.js", "report.js", "position.js", "live.js")
COMPARISON_SCRIPTS = (*_COMMON, "forest.js", "distribution.js", "comparison.js")


def document(
    template: str,
    scripts: Sequence[str],
    variables: Mapping[str, Any],
    *,
    title: str,
    live_path: str = "",
    version: str = "",
) -> str:
    """Render a complete, self-contained page that needs no network.

    Args:
        template: Template of the content.
        scripts: Files of `templates/` that form the page's script.
        variables: Variables of the template.
        title: Title of the page.
        live_path: Path that the live view polls for updates; empty for a file.
        version: Version of the content that a live view begins with.
    """
    style = _read(_UPLOT / "uPlot.min.css") + "".join(
        _read(_TEMPLATES / name) for name in ("page.css", "parts.css", "live.css")
    )
    library = f"/*!\n{_read(_UPLOT / 'LICENSE')}*/\n{_read(_UPLOT / 'uPlot.iife.min.js')}"
    script = '"use strict";\n' + "".join(_read(_TEMPLATES / name) for name in scripts)
    return str(
        _environment()
        .get_template("page.html")
        .render(
            content=template,
            title=title,
            version=__version__,
            made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            style=style,
            scripts=[library, script],
            policy=_policy(style, [library, script], live=bool(live_path)),
            live_path=live_path,
            version_shown=version,
            **variables,
        )
    )


def fragment(template: str, variables: Mapping[str, Any]) -> str:
    """Render one template as HTML."""
    return str(_environment().get_template(template).render(**variables))


def embedded(value: Any) -> Markup:
    """Encode a value as JSON for a `<script type="application/json">`; no text in it can end the element. Control characters become `?`.

    Args:
        value: Plain data, with finite numbers.
    """
    from markupsafe import Markup

    words = json.dumps(shown(value), separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        words = words.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(words)


def shown(value: Any) -> Any:
    """Copy data with printable texts."""
    kind = value.__class__
    if kind is str:
        return printable(value)
    if kind in _PLAIN:  # checked first because isinstance with Mapping is slow, and a page has a million numbers
        return value
    if isinstance(value, Mapping):
        return {printable(key): shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [item if item.__class__ in _PLAIN else shown(item) for item in value]
    return value


@functools.cache
def _environment() -> Environment:
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, finalize=_printed
    )
    made.filters |= {"embedded": embedded, "flat": lambda row: [row[0], *row[1]]}
    return made


def _printed(value: Any) -> Any:
    return printable(value) if value.__class__ is str else value


def _read(path: str | os.PathLike[str]) -> str:
    return Path(path).read_text(encoding="utf-8")


def _policy(style: str, scripts: Sequence[str], *, live: bool) -> str:
    """Content security policy that allows only this style, these scripts and embedded images; values cannot become HTML or code.

    The live view also polls its own server and parses the HTML that the server sends.
    """
    rules = [
        "default-src 'none'",
        "img-src data:",
        f"style-src '{_hash(style)}'",
        f"script-src {' '.join(f'{_hash(script)!r}' for script in scripts)}",
        f"connect-src {_SELF if live else _NONE}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    if not live:
        rules += ["require-trusted-types-for 'script'", "trusted-types 'none'"]
    return "; ".join(rules)


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
