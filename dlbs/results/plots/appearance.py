"""Appearance of all plots: styles, colours, markers, sizes."""

from __future__ import annotations

import math
import re
from typing import Any

from dlbs.errors import LogError, did_you_mean
from dlbs.extras import require

__all__ = ["DOTS_PER_INCH", "STYLES", "colour", "marks", "muted", "settings", "size_of", "warning_colour"]

DOTS_PER_INCH = 150  # of PNG files
# Colours that are distinct for all common kinds of colour blindness (Okabe and Ito 2008); markers and dashes are redundant.
_ON_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A")
_ON_DARK = ("#56B4E9", "#E69F00", "#2BC49A", "#E39BC4", "#F0E442", "#FF7F3F", "#FFFFFF", "#A0A0A0")
_MARKERS = "os^Dv<>P"
_DASHES = ("-", "--", "-.", ":")
_COMMON: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.edgecolor": "#555555",
    "axes.labelsize": "medium",
    "errorbar.capsize": 3,
    "font.family": ["DejaVu Sans"],  # included in matplotlib: the same image on every machine
    "font.size": 10,
    "grid.alpha": 0.3,
    "image.cmap": "cividis",
    "legend.frameon": False,
    "lines.markersize": 5,
    "pdf.fonttype": 42,  # texts stay searchable texts
    "savefig.dpi": DOTS_PER_INCH,
    "svg.fonttype": "none",  # the same, and files stay small
    "svg.hashsalt": "dlbs",  # the same figure is the same file
    "text.color": "#1a1a1a",
    "text.parse_math": False,  # no formulas in names that contain dollar signs
}
_DARK: dict[str, Any] = {
    "axes.edgecolor": "#a9b1ba",
    "axes.facecolor": "#14181d",
    "axes.labelcolor": "#e6e6e6",
    "figure.facecolor": "#14181d",
    "grid.color": "#8b949e",
    "savefig.facecolor": "#14181d",
    "text.color": "#e6e6e6",
    "xtick.color": "#c9d1d9",
    "ytick.color": "#c9d1d9",
}
# Style → (settings of matplotlib, colours, inches of a figure, one line of help).
STYLES: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[float, float], str]] = {
    "light": ({}, _ON_LIGHT, (8.0, 4.8), "dark on white"),
    "dark": (_DARK, _ON_DARK, (8.0, 4.8), "light on black"),
    "paper": (
        {"font.size": 8, "lines.markersize": 4, "lines.linewidth": 1.2, "axes.linewidth": 0.6},
        _ON_LIGHT,
        (5.0, 3.2),
        "smaller, for a column of a paper",
    ),
    "slides": (
        {"font.size": 16, "lines.markersize": 8, "lines.linewidth": 2.5},
        _ON_LIGHT,
        (13.33, 7.5),
        "larger, 16:9",
    ),
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*(in|cm|mm|px)?\s*", re.ASCII)
_PER_INCH = {"in": 1.0, "cm": 2.54, "mm": 25.4, "px": DOTS_PER_INCH}
_LEAST, _MOST = 1.0, 60.0  # inches


def settings(style: str) -> dict[str, Any]:
    """Settings of matplotlib for a style.

    Raises:
        LogError: The style is unknown.
    """
    if style not in STYLES:
        hint = did_you_mean(style, STYLES) or f"choose from {', '.join(STYLES)}"
        raise LogError(f"unknown style {style!r}", where="--style", hint=hint)
    changes, colours, _, _ = STYLES[style]
    cycle = require("cycler", "reports").cycler(color=colours)
    return {**_COMMON, **changes, "axes.prop_cycle": cycle}


def size_of(words: str) -> tuple[float, float]:
    """Parse a size such as `8x5`, `16x9cm`, `120x80mm` or `1200x700px` into inches; a pixel is 1/150 inch, as in PNG files.

    Raises:
        LogError: It is not a size, or too small or large for a figure.
    """
    found = _SIZE.fullmatch(words)
    if not found:
        raise LogError(f"{words!r} is not a size", where="--size", hint="write 8x5 (inches), 16x9cm or 1200x700px")
    width, height = (float(found[at]) / _PER_INCH[found[3] or "in"] for at in (1, 2))
    if not all(math.isfinite(one) and _LEAST <= one <= _MOST for one in (width, height)):
        what = f"{words!r} is {width:.3g} x {height:.3g} inches"
        raise LogError(what, where="--size", hint=f"choose {_LEAST:g} to {_MOST:g} inches")
    return width, height


def colour(index: int) -> str:
    """Colour of a line, bar or box."""
    colours = require("matplotlib", "reports").rcParams["axes.prop_cycle"].by_key()["color"]
    return str(colours[index % len(colours)])


def marks(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of a line: eight colours, with different markers and dashes in each cycle."""
    return {
        "color": colour(index),
        "marker": _MARKERS[(index + index // len(_ON_LIGHT)) % len(_MARKERS)],
        "linestyle": _DASHES[index // len(_ON_LIGHT) % len(_DASHES)],
    }


def muted() -> str:
    """Colour of background elements: limits, ideal lines, notes."""
    return str(require("matplotlib", "reports").rcParams["axes.edgecolor"])


def warning_colour() -> str:
    """Colour of notes on doubtful results."""
    is_dark = require("matplotlib", "reports").rcParams["figure.facecolor"] == _DARK["figure.facecolor"]
    return "#ff9b8a" if is_dark else "#aa3333"
