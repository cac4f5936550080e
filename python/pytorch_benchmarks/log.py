"""Results as log lines: `__results.time__= 12.3`. A launcher extracts them from ordinary output."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["Log"]


class Log:
    """Prints values as they become known, and collects them for a result file.

    Times are milliseconds, throughput is instances per second, memory is bytes, energy is joules.

    Attributes:
        values: Logged values; the last one of each key.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, key: str, value: Any) -> None:
        """Log one value; only rank 0 prints."""
        self.values[key] = value
        if self.reports:
            print(f"__{key}__= {json.dumps(value)}", flush=True)

    def many(self, values: Mapping[str, Any], prefix: str = "") -> None:
        """Log values, with `prefix` prepended to their keys."""
        for key, value in values.items():
            self(prefix + key, value)

    @property
    def reports(self) -> bool:
        """Whether this process reports for all."""
        return os.environ.get("RANK", "0") == "0"

    def failure(self, reason: str, *, is_printed: bool = False) -> None:
        """Log why the program failed; any process may, since rank 0 need not know the reason.

        Args:
            reason: One line.
            is_printed: Whether the program that started the processes prints the reason too.
        """
        self.values["exp.status_msg"] = reason
        if not is_printed:
            print(f"__exp.status_msg__= {json.dumps(reason)}", flush=True)

    def warn(self, text: str) -> None:
        """Print a warning about the numbers, as `problem: figures; advice`; `end` logs the list `results.warnings`."""
        if self.reports:
            print(f"warning: {text}", flush=True)
        self.values.setdefault("results.warnings", []).append(text)

    def end(self) -> None:
        """Log values that are known only at the end: the list of warnings."""
        if "results.warnings" in self.values:
            self("results.warnings", self.values["results.warnings"])

    def write(self, path: str) -> None:
        """Write all values as one JSON object; concurrent readers see either the old file or the new one.

        Raises:
            OSError: The file cannot be written.
        """
        if not self.reports:
            return
        beside = f"{path}.part{os.getpid()}"
        try:
            with open(beside, "w", encoding="utf-8") as stream:
                json.dump(self.values, stream, indent=1)
                stream.write("\n")
            os.replace(beside, path)
        finally:
            if os.path.exists(beside):
                os.unlink(beside)
