"""The page of a log directory while a plan runs: made anew when a file has changed."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from dlbs.errors import DlbsError, LogError

__all__ = ["LiveResults"]


class LiveResults:
    """What a log directory holds just now; made anew only when a file in it has changed.

    Args:
        directory: The log directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._made: dict[bool, tuple[str, str]] = {}  # whether it is the whole page → version, HTML

    def content(self) -> tuple[str, str]:
        """The version and the HTML of the page's content."""
        return self._current(page=False)

    def page(self) -> str:
        """The whole page."""
        return self._current(page=True)[1]

    def _current(self, *, page: bool) -> tuple[str, str]:
        with self._lock:
            signature = self._sign()
            if self._made.get(page, ("", ""))[0] != signature:
                self._made[page] = (signature, self._make(page=page))
            return self._made[page]

    def _sign(self) -> str:
        digest = hashlib.sha256(f"{self._owner([])}".encode())
        for directory, names, files in os.walk(self.directory):
            names.sort()
            for name in sorted(files):
                path = os.path.join(directory, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f'"{digest.hexdigest()[:32]}"'

    def _make(self, *, page: bool) -> str:
        from dlbs.config.load import load_config
        from dlbs.results.page.experiments import label_names
        from dlbs.results.page.page import content_html, page_html
        from dlbs.results.read.findings import Reading
        from dlbs.results.read.onelog import Record
        from dlbs.results.read.records import load_records

        reading = Reading()
        records: list[Record] = []
        problems: list[str] = []
        # An empty directory is where a plan is about to run: no error here.
        if any(self.directory.rglob("*.log*")):
            try:
                records = load_records([str(self.directory)], reading)
            except LogError as error:
                problems.append(str(error))
        problems += Reading(reading.errors).messages()
        ended = [record for record in records if not str(record["exp.log_file"]).endswith(".part")]
        running = [record for record in records if str(record["exp.log_file"]).endswith(".part")]
        declarations = load_config().declarations
        names = label_names(records, declarations)
        live = {
            "planned": max(len(records), self._planned(problems)),
            "done": len(ended),
            "owner": self._owner(problems),
            "running": [_running(record, names) for record in running],
            "problems": list(dict.fromkeys(problems)),
        }
        logs = reading.paths
        if page:
            return page_html(ended, declarations, logs=logs, live=live, live_path="/content")
        return content_html(ended, declarations, logs=logs, live=live)

    def _planned(self, problems: list[str]) -> int:
        from dlbs.run.status import read_states

        try:
            return len(read_states(self.directory))
        except LogError as error:
            problems.append(str(error))
            return 0

    def _owner(self, problems: list[str]) -> int | None:
        """The process that runs a plan here, if there is one."""
        from dlbs.run.locks import owner

        try:
            return owner(self.directory)
        except DlbsError as error:
            problems.append(str(error))
            return None


def _running(record: dict[str, Any], names: list[str]) -> dict[str, str]:
    from dlbs.experiment import describe
    from dlbs.text import text

    return {
        "name": describe(record, names, whole=True) or text(record.get("exp.log_file")),
        "gpus": text(record.get("exp.gpu_ids")) or "–",
        "cpus": text(record.get("exp.cpus")) or "–",
        "since": text(record.get("exp.start_time")) or "–",
    }
