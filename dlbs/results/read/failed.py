"""What `dlbs parse` can do with experiments that did not end well."""

from __future__ import annotations

__all__ = ["FAILED"]

FAILED = {
    "keep": "among the others",
    "discard": "left out, and counted",
    "keep_separately": "in a list of their own, which only JSON has room for",
}
