"""Options of `dlbs parse` for failed experiments."""

from __future__ import annotations

__all__ = ["FAILED"]

FAILED = {
    "keep": "together with the others",
    "discard": "left out; their number is reported",
    "keep_separately": "in a separate list (JSON only)",
}
