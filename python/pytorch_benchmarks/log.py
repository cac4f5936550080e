"""Results as log lines: `__results.time__= 12.3`. A launcher reads them from among ordinary output."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["Log"]


class Log:
    """Prints values as they become known, and keeps them for a result file.

    Times are milliseconds, throughput is instances per second, memory is bytes, energy is joules.

    Attributes:
        values: What was logged, the last of each key.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, key: str, value: Any) -> None:
        """Log one value; of several processes, the first one prints."""
        self.values[key] = value
        if self.reports:
            print(f"__{key}__= {json.dumps(value)}", flush=True)

    def many(self, values: Mapping[str, Any], prefix: str = "") -> None:
        """Log values whose keys begin with `prefix`."""
        for key, value in values.items():
            self(prefix + key, value)

    @property
    def reports(self) -> bool:
        """Whether this is the process that speaks for all."""
        return os.environ.get("RANK", "0") == "0"

    def failure(self, reason: str, *, is_printed: bool = False) -> None:
        """Say why the program failed; of several processes each may, since the first one need not be the one that knows.

        Args:
            reason: One line.
            is_printed: Whether the program that started the processes prints the reason.
        """
        self.values["exp.status_msg"] = reason
        if not is_printed:
            print(f"__exp.status_msg__= {json.dumps(reason)}", flush=True)

    def warn(self, text: str) -> None:
        """Say what makes the numbers doubtful, as `what it is: figures; what to do`; `end` logs the list `results.warnings`."""
        if self.reports:
            print(f"warning: {text}", flush=True)
        self.values.setdefault("results.warnings", []).append(text)

    def end(self) -> None:
        """Log what is known only when all is done: the warnings, in one list."""
        if "results.warnings" in self.values:
            self("results.warnings", self.values["results.warnings"])

    def write(self, path: str) -> None:
        """Write all values as one JSON object; whoever reads the file at the same time sees the old one or the new one.

        Raises:
            OSError: It cannot be written.
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
