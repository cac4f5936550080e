"""Identify a run by a digest of everything it logged, independent of the path of its log."""

from __future__ import annotations

import hashlib
import json

from dlbs.results.read.onelog import Record

__all__ = ["digest_of"]

_NOT_CONTENT = ("exp.log_file", "db.tags", "db.added", "db.id")  # the path of a log does not identify the run


def digest_of(record: Record) -> str:
    """Digest of a run as 64 hexadecimal digits."""
    content = {name: value for name, value in record.items() if name not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
