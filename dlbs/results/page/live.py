"""The page of a log directory while a plan runs: made anew when a file has changed."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from dlbs.errors import LogError

__all__ = ["LiveResults"]


class LiveResults:
    """What a log directory holds just now; made anew only when a file in it has changed.

    Args:
        directory: The log directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._signature = ""
        self._content = ""

    def content(self) -> tuple[str, str]:
        """The version and the HTML of the page's content."""
        with self._lock:
            signature = self._sign()
            if signature != self._signature:
                self._content = self._make(page=False)
                self._signature = signature
            return self._signature, self._content

    def page(self) -> str:
        """The whole page."""
        with self._lock:
            return self._make(page=True)

    def _sign(self) -> str:
        from dlbs.run.locks import owner

        digest = hashlib.sha256(f"{owner(self.directory)}".encode())
        for path in sorted(self.directory.rglob("*")):
            try:
                status = path.stat()
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
        from dlbs.run.locks import owner

        reading = Reading()
        records: list[Record] = []
        # An empty directory is where a plan is about to run: no error here.
        if any(self.directory.rglob("*.log*")):
            try:
                records = load_records([str(self.directory)], reading)
            except LogError:
                records = []
        ended = [record for record in records if not str(record["exp.log_file"]).endswith(".part")]
        running = [record for record in records if str(record["exp.log_file"]).endswith(".part")]
        declarations = load_config().declarations
        names = label_names(records, declarations)
        live = {
            "planned": max(len(records), self._planned()),
            "done": len(ended),
            "owner": owner(self.directory),
            "running": [_running(record, names) for record in running],
        }
        logs = reading.paths
        if page:
            return page_html(ended, declarations, logs=logs, live=live, live_path="/content")
        return content_html(ended, declarations, logs=logs, live=live)

    def _planned(self) -> int:
        from dlbs.run.status import read_states

        try:
            return len(read_states(self.directory))
        except LogError:
            return 0


def _running(record: dict[str, Any], names: list[str]) -> dict[str, str]:
    from dlbs.experiment import describe
    from dlbs.text import text

    return {
        "name": describe(record, names, whole=True) or text(record.get("exp.log_file")),
        "gpus": text(record.get("exp.gpu_ids")) or "–",
        "cpus": text(record.get("exp.cpus")) or "–",
        "since": text(record.get("exp.start_time")) or "–",
    }
