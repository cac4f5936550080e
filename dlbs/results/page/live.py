"""Live view of a log directory: the current progress, polled often, and the page of results, regenerated when an experiment ends."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError
from dlbs.run.locks import LOCK_NAME, owner
from dlbs.run.watch import Look, Watch

if TYPE_CHECKING:
    from dlbs.results.read.onelog import Record

__all__ = ["LiveResults"]

_SHARE = 0.05  # of one CPU's time for generating pages while a plan runs, to not disturb measurements
_CONTENT, _PAGE = "content", "page"


class LiveResults:
    """Current content of a log directory.

    Args:
        directory: The log directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._watch = Watch(directory)
        self._watching, self._making = threading.Lock(), threading.Lock()
        self._made: dict[str, tuple[str, str]] = {}  # content or page → version, HTML
        self._not_before = 0.0  # moment of `time.monotonic()`
        self._look: Look | None = None
        self._next_look = 0.0
        self._problems: tuple[str, ...] = ()

    def now(self) -> tuple[str, str]:
        """Version and HTML of the current progress; cached to limit the cost."""
        from dlbs.results.page.assets import fragment

        html = fragment("live.html", self._now())
        return f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"', html

    def content(self) -> tuple[str, str]:
        """Version and HTML of the page's content. While a plan runs, it may be outdated if generating it takes long."""
        return self._current(_CONTENT)

    def page(self) -> str:
        """HTML of the whole page."""
        return self._current(_PAGE)[1]

    def _now(self, *, fresh: bool = False) -> dict[str, Any]:
        """Variables of the current progress; `fresh` reads the directory again even if the last reading is recent."""
        from dlbs.results.page.now import now_variables

        with self._watching:
            began = time.monotonic()
            if fresh or self._look is None or began >= self._next_look:
                self._look = self._watch.look()
                ended = time.monotonic()
                self._next_look = ended + (ended - began) / _SHARE
            look = self._look
        return {**now_variables(look), "problems": list(dict.fromkeys([*look.problems, *self._problems]))}

    def _current(self, kind: str) -> tuple[str, str]:
        with self._making:
            signature = self._sign()
            known = self._made.get(kind)
            if known is not None and (known[0] == signature or self._must_wait()):
                return known
            began = time.monotonic()
            self._made[kind] = (signature, self._make(is_page=kind == _PAGE))
            ended = time.monotonic()
            self._not_before = ended + (ended - began) / _SHARE
            return self._made[kind]

    def _must_wait(self) -> bool:
        """Whether a plan runs and regenerating the page now would use too much CPU time."""
        return time.monotonic() < self._not_before and owner(self.directory) is not None

    def _sign(self) -> str:
        """Fingerprint that changes when an experiment ends, or a log is changed or removed."""
        # A removed directory has no files either, but its page differs from that of an empty one.
        digest = hashlib.sha256(b"there" if self.directory.is_dir() else b"gone")
        for directory, names, files in os.walk(self.directory):
            names.sort()
            for name in sorted(files):
                if name.endswith((".part", ".sh", ".tmp")) or name == LOCK_NAME:
                    continue
                path = os.path.join(directory, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f'"{digest.hexdigest()[:32]}"'

    def _make(self, *, is_page: bool) -> str:
        from dlbs.config.load import load_config
        from dlbs.results.page.page import content_html, page_html
        from dlbs.results.read.findings import Reading
        from dlbs.results.read.records import load_records

        reading = Reading()
        records: list[Record] = []
        problems: list[str] = []
        # An empty directory is not an error: a plan is about to run.
        if any(self.directory.rglob("*.log*")):
            try:
                records = load_records([str(self.directory)], reading)
            except LogError as error:
                problems.append(str(error))
        self._problems = (*problems, *Reading(reading.errors).messages())
        ended = [record for record in records if not str(record["exp.log_file"]).endswith(".part")]
        declarations = load_config().declarations
        # The page is cached until a log changes, so its progress must not be older than the logs.
        live = self._now(fresh=True)
        if is_page:
            return page_html(ended, declarations, logs=reading.paths, live=live, live_path="/content")
        return content_html(ended, declarations, logs=reading.paths, live=live)
