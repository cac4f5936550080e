"""The live view of a log directory: what happens now, looked at often, and the page of results, made anew when an experiment has ended."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError
from dlbs.run.watch import Look, Watch

if TYPE_CHECKING:
    from dlbs.config.declarations import Parameter
    from dlbs.results.read.onelog import Record

__all__ = ["LiveResults", "Prepared"]

_SHARE = 0.05  # of the time of one CPU that the page may take while a plan runs: it is a neighbour of what is measured
_MANY_FILES = 500  # from which reading them for the first time takes so long that something else is shown meanwhile
_LEVEL = 4  # of compression: higher ones take twice the time for the last tenth


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer that is sent to everybody who asks until something changes.

    Attributes:
        version: Another one for another answer.
        body: The HTML, as UTF-8.
        packed: The same, compressed.
    """

    version: str
    body: bytes
    packed: bytes

    @classmethod
    def of(cls, html: str, version: str = "") -> Prepared:
        """Make one; its version is a digest of the HTML unless another is given."""
        body = html.encode("utf-8", "replace")
        version = version or f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        return cls(version, body, gzip.compress(body, _LEVEL, mtime=0))


@dataclass(slots=True)
class _Budget:
    """Keeps work below a share of the time while a plan runs."""

    directory: Path
    not_before: float = field(default=0.0)  # moment of `time.monotonic()`

    def is_spent(self) -> bool:
        """Whether a plan runs, and doing the work again now would take too much of its machine."""
        from dlbs.run.locks import owner

        return time.monotonic() < self.not_before and owner(self.directory) is not None

    def spend(self, began: float) -> None:
        """Take the time since a moment off."""
        ended = time.monotonic()
        self.not_before = ended + (ended - began) / _SHARE


@dataclass(frozen=True, slots=True)
class _Made:
    """A content, and what its plots are drawn from."""

    answer: Prepared
    title: str
    records: list[Record]
    declarations: dict[str, Parameter]


class LiveResults:
    """What a log directory holds just now.

    Args:
        directory: The log directory.
    """

    def __init__(self, directory: Path) -> None:
        from dlbs.results.read.kept import KeptLogs

        self.directory = directory
        self._watch, self._logs = Watch(directory), KeptLogs(str(directory))
        self._watching, self._making, self._drawing = threading.Lock(), threading.Lock(), threading.Lock()
        self._made: _Made | None = None
        self._plots: Prepared | None = None
        self._budget, self._plots_budget = _Budget(directory), _Budget(directory)
        self._look: Look | None = None
        self._next_look = 0.0
        self._problems: tuple[str, ...] = ()

    def now(self) -> Prepared:
        """What happens now; as often as it costs little."""
        from dlbs.results.page.assets import fragment

        if self._made is None and self._making.locked() and (count := self._files()) >= _MANY_FILES:
            return Prepared.of(fragment("first.html", {"count": count}))  # nobody reads the same logs at the same time
        return Prepared.of(fragment("live.html", self._now()))

    def content(self) -> Prepared:
        """The page's content without its plots. While a plan runs, it may be some time old if making it takes long."""
        return self._content().answer

    def plots(self) -> Prepared:
        """The plots of the content that was asked for last; older ones while a plan runs, if drawing them takes long."""
        from dlbs.results.page.page import plots_html

        made = self._content()
        with self._drawing:
            known = self._plots
            if known is not None and (known.version == made.answer.version or self._plots_budget.is_spent()):
                return known
            began = time.monotonic()
            self._plots = Prepared.of(plots_html(made.records, made.declarations), made.answer.version)
            self._plots_budget.spend(began)
            return self._plots

    def page(self) -> Prepared:
        """The whole page. While many logs are read for the first time it has no content, which it asks for."""
        from dlbs.results.page.assets import fragment
        from dlbs.results.page.page import live_page_html, page_title

        if self._made is None and (count := self._files()) >= _MANY_FILES:
            return Prepared.of(live_page_html(fragment("first.html", {"count": count}), page_title([]), ""))
        made = self._content()
        return Prepared.of(live_page_html(made.answer.body.decode(), made.title, made.answer.version))

    def _files(self) -> int:
        try:
            with os.scandir(self.directory) as entries:
                return sum(1 for _ in entries)
        except OSError:  # the page says that it is gone
            return 0

    def _now(self, *, fresh: bool = False) -> dict[str, Any]:
        """The variables of what happens now; `fresh` looks again, however short ago the last look was."""
        from dlbs.results.page.now import now_variables

        with self._watching:
            began = time.monotonic()
            if fresh or self._look is None or began >= self._next_look:
                self._look = self._watch.look()
                ended = time.monotonic()
                self._next_look = ended + (ended - began) / _SHARE
            look = self._look
        return {**now_variables(look), "problems": list(dict.fromkeys([*look.problems, *self._problems]))}

    def _content(self) -> _Made:
        with self._making:
            if self._made is not None and self._budget.is_spent():
                return self._made
            began = time.monotonic()
            signature = self._sign()
            if self._made is None or self._made.answer.version != signature:
                self._made = self._make(signature)
            self._budget.spend(began)
            return self._made

    def _sign(self) -> str:
        """What is another one when an experiment has ended, or a log was changed or removed."""
        # A directory that is gone has no files either, but is another page than an empty one.
        digest = hashlib.sha256(b"there" if self.directory.is_dir() else b"gone")
        for directory, names, files in os.walk(self.directory):
            names.sort()
            for name in sorted(files):
                if name.endswith((".part", ".sh", ".tmp")) or name == ".dlbs.lock":
                    continue
                path = os.path.join(directory, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f'"{digest.hexdigest()[:32]}"'

    def _make(self, version: str) -> _Made:
        from dlbs.config.load import load_config
        from dlbs.results.page.page import content_html, page_title
        from dlbs.results.read.findings import Reading

        reading = Reading()
        records: list[Record] = []
        problems: list[str] = []
        # An empty directory is where a plan is about to run: no error here.
        if any(self.directory.rglob("*.log*")):
            try:
                found = self._logs.read(reading)
                records = [record for record in found if not str(record["exp.log_file"]).endswith(".part")]
            except LogError as error:
                problems.append(str(error))
        self._problems = (*problems, *Reading(reading.errors).messages())
        with self._watching:
            for log, stamp, record in self._logs.complete():
                self._watch.learn(Path(log), stamp, record)
        declarations = load_config().declarations
        # The page is kept until a log changes: an older look than that at the logs must not be kept with it.
        html = content_html(records, declarations, logs=reading.paths, live=self._now(fresh=True))
        return _Made(Prepared.of(html, version), page_title(records), records, dict(declarations))
