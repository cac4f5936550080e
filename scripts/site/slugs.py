"""Anchors of headings, as GitHub makes them: a link that works there works on the site."""

from __future__ import annotations

import re

__all__ = ["slug"]


def slug(text: str, separator: str) -> str:
    """Lower case, without punctuation; each blank becomes a dash."""
    kept = re.sub(r"[^\w\- ]", "", text.lower())
    return kept.strip().replace(" ", separator)
