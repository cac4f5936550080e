"""Anchors of headings like GitHub's, so that links work in both places."""

from __future__ import annotations

import re

__all__ = ["slug"]


def slug(text: str, separator: str) -> str:
    """Convert to lower case, without punctuation; each blank becomes a dash."""
    kept = re.sub(r"[^\w\- ]", "", text.lower())
    return kept.strip().replace(" ", separator)
