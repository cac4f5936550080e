"""The log protocol, written side: results as lines `__results.time__= 12.3` among ordinary output, which a launcher extracts."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from benchmark_core.files import replaced

# In the environment of all processes of an experiment, so that a later run finds those that a killed run left.
LOG_VARIABLE = "DLBS_LOG"
STATUSES = ("ok", "failure", "timeout", "skipped", "cancelled")
# Keys that show that code or software has changed since. They are logged before the first batch; `dlbs run` repeats their lines at the end.
CODE, SOFTWARE = "exp.code.", "exp.software."
PROVENANCE = (
    *(f"{CODE}{name}" for name in ("directory", "root", "commit", "dirty", "diff", "files", "data", "editable")),
    *(f"{SOFTWARE}{name}" for name in ("interpreter", "packages", "package_list")),
    "exp.docker_image_id",
)
KEY_LINE = re.compile(r"[ \t]*__(\S+?)__[ \t]*=(.*)", re.DOTALL)

_encode = json.JSONEncoder().encode  # json.dumps without its checks: it writes each parameter of each experiment


def key_line(key: str, value: Any) -> str:
    """One log line without its newline: `__exp.model__= "alexnet"`. ASCII only, valid in any encoding of a log."""
    if value is True or value is False:
        return f"__{key}__= {'true' if value else 'false'}"
    # An encoder takes a microsecond to begin with anything but a text.
    return f"__{key}__= {value if value.__class__ is int else _encode(value)}"


def timestamp() -> str:
    """`%Y-%m-%d:%H:%M:%S:%3N`, the format of the original DLBS."""
    now = time.time()
    return time.strftime("%Y-%m-%d:%H:%M:%S", time.localtime(now)) + f":{int(now % 1 * 1000):03d}"


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
            print(key_line(key, value), flush=True)

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
            print(key_line("exp.status_msg", reason), flush=True)

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
        with replaced(path) as stream:
            json.dump(self.values, stream, indent=1)
            stream.write("\n")
