"""Assemble pages: embedded styles and scripts, the content security policy, and escaping of values."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark_core.text import printable
from dlbs.core.text import finite, text
from dlbs.core.version import __version__
from dlbs.results.columns import hashable
from dlbs.results.runs import Runs

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


_LONGEST = 120  # characters of a value
_LARGE = 4 << 20  # characters of data from which they are compressed
_DIGITS = re.compile(r"(\d+)")


def parameter_column(runs: Runs, name: str) -> dict[str, Any]:
    """Encode the values of a parameter by a dictionary. Empty values are missing.

    Returns:
        `values`: the distinct ones as texts, in numerical or natural order (`model2` before `model10`). `codes`: for each experiment the index of its
        value, or -1. `numbers`: the values as numbers, if all are numbers.
    """
    found = {hashable(value): value for value in runs.distinct(name)}
    are_numbers = all(value in (None, "", []) or finite(value) is not None for value in found.values())
    distinct, codes = runs.classes(name)
    used = {code: shortened(text(found[hashable(distinct[code])])) for code in dict.fromkeys(codes)}
    values = _ordered(used.values(), by_number=are_numbers)
    places = {words: place for place, words in enumerate(values)}
    translated = {code: places.get(words, -1) for code, words in used.items()}
    numbers = [float(value) for value in values] if are_numbers and values else None
    return {"values": values, "codes": list(map(translated.__getitem__, codes)), "numbers": numbers}


def coded(texts: Sequence[str]) -> dict[str, Any]:
    """Encode texts in natural order, as `parameter_column` does; empty texts are missing."""
    used = {words: shortened(words) for words in dict.fromkeys(texts)}
    values = _ordered(used.values(), by_number=False)
    places = {words: place for place, words in enumerate(values)}
    translated = {words: places.get(short, -1) for words, short in used.items()}
    return {"values": values, "codes": list(map(translated.__getitem__, texts)), "numbers": None}


def lists(found: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Encode lists of texts: the distinct texts, and for each experiment their indices, 0 for none."""
    used = {one: list(map(shortened, one)) for one in dict.fromkeys(map(tuple, found))}
    values = sorted({words for texts in used.values() for words in texts}, key=in_reading_order)
    places = {words: place for place, words in enumerate(values)}
    translated = {one: [places[words] for words in texts] or 0 for one, texts in used.items()}
    return {"values": values, "codes": [translated[tuple(one)] for one in found]}


def in_reading_order(words: str) -> list[Any]:
    """Sort key for natural order: numbers in texts are compared as numbers."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in _DIGITS.split(words[:200])]


def _ordered(texts: Iterable[str], *, by_number: bool) -> list[str]:
    values = [words for words in dict.fromkeys(texts) if words]
    values.sort(key=float if by_number else in_reading_order)
    return values


def shortened(words: str) -> str:
    """Truncate a text to at most 120 characters, with an ellipsis."""
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


_HERE = Path(__file__).parent
_TEMPLATES, _UPLOT = _HERE / "templates", _HERE / "vendor" / "uplot"

_PLAIN = frozenset({int, float, bool, type(None)})
_SELF, _NONE = "'self'", "'none'"
# Parts of a page's script, in the order in which they run.
_COMMON = ("values.js", "table.js", "facets.js", "canvas.js")
REPORT_SCRIPTS = (*_COMMON, "chart.js", "batches.js", "experiments.js", "report.js", "position.js", "live.js")
HISTORY_SCRIPTS = ("values.js", "canvas.js", "trend.js")
COMPARISON_SCRIPTS = (*_COMMON, "forest.js", "distribution.js", "comparison.js")


def document(
    template: str,
    scripts: Sequence[str],
    variables: Mapping[str, Any],
    *,
    title: str,
    live_path: str = "",
    version: str = "",
    has_forms: bool = False,
) -> str:
    """Render a complete, self-contained page that needs no network.

    Args:
        template: Template of the content.
        scripts: Files of `templates/` that form the page's script.
        variables: Variables of the template.
        title: Title of the page.
        live_path: Path that the live view polls for updates; empty for a file.
        version: Version of the content that a live view begins with.
        has_forms: Forms of the page ask its own server.
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
            policy=_policy(style, [library, script], live=bool(live_path), has_forms=has_forms),
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

    The JSON of much data is a text: the data compressed with gzip, to the base of 64, which `readData` of the script unpacks.

    Args:
        value: Plain data, with finite numbers.
    """
    from markupsafe import Markup

    words = json.dumps(shown(value), separators=(",", ":"), allow_nan=False)
    if len(words) > _LARGE:
        words = json.dumps(base64.b64encode(gzip.compress(words.encode(), 6, mtime=0)).decode())
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


def _policy(style: str, scripts: Sequence[str], *, live: bool, has_forms: bool) -> str:
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
        f"form-action {_SELF if has_forms else _NONE}",
    ]
    if not live:
        rules += ["require-trusted-types-for 'script'", "trusted-types 'none'"]
    return "; ".join(rules)


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def five_digits(value: float) -> float:
    """Round a number of a page's data; 0 if it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else 0.0
