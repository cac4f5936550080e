"""Results as log lines: `__results.time__= 12.3`. A launcher reads them from among ordinary output."""

from __future__ import annotations

import json
import os
from typing import Any

__all__ = ["log"]


def log(key: str, value: Any) -> None:
    """Print one value; of several processes, the first one reports. Times are milliseconds, throughput is instances per second, memory is bytes."""
    if os.environ.get("RANK", "0") != "0":
        return
    print(f"__{key}__= {json.dumps(value)}", flush=True)
