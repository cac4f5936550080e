"""Live view of a log directory: the current progress, polled often, and the page of results, regenerated when an experiment ends."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.core.errors import LogError
from dlbs.core.text import counted, duration, rate_per
from dlbs.run.locks import LOCK_NAME, run_facts
from dlbs.run.status import Look, Watch

if TYPE_CHECKING:
    from dlbs.results.runs import Runs


def now_variables(look: Look, now: float | None = None) -> dict[str, Any]:
    """Variables of the template `live.html`.

    Args:
        look: State of the plan.
        now: Seconds since 1970; by default, the current time.
    """
    now = time.time() if now is None else now
    left = look.remaining
    jobs, counts = (look.run or {}).get("jobs"), look.counts
    seconds = None if look.since is None else max(0.0, now - look.since)
    return {
        "planned": len(look.states),
        "done": look.done,
        "counts": [
            counted_words
            for status in ("ok", "failure", "timeout", "skipped", "cancelled", "running", "interrupted", "queued", "to do")
            if counts[status] and (counted_words := f"{counts[status]:,} {status}")
        ],
        "doubtful": look.doubtful,
        "owner": look.owner,
        "since": "" if look.since is None or seconds is None else f"since {_moment(look.since, now)}, {duration(seconds)} ago",
        "left": "" if left is None else left.words(),
        "until": "" if left is None else _moment(now + left.seconds, now),
        "pace": rate_per(look.ended, seconds, "experiments"),
        "slots": f"{len(look.under_way) + look.more} of {jobs}" if isinstance(jobs, int) else f"{len(look.under_way) + look.more}",
        "running": [
            {
                "slot": one.slot, "name": one.name, "gpus": one.gpus or "–", "cpus": one.cpus or "–",
                "since": "–" if one.seconds is None else duration(one.seconds), "rate": one.rate or "–", "line": one.line,
            }
            for one in look.under_way
        ],
        "more": look.more,
        "reasons": [
            {"words": ": ".join(filter(None, [one.status, one.message])), "count": counted(one.experiments, "experiment"), "example": one.example}
            for one in look.reasons
        ],
    }  # fmt: skip


def _moment(moment: float, now: float) -> str:
    """Format a time for humans: `10:01` today, else `2026-11-21 10:01`."""
    there, here = time.localtime(moment), time.localtime(now)
    is_today = there[:3] == here[:3]
    return time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", there)


_SHARE = 0.05  # of one CPU's time for generating pages while a plan runs, to not disturb measurements
_MANY_FILES = 500  # from this number on, a placeholder is shown while they are read for the first time
_LEVEL = 4  # of compression: higher ones take twice the time for the last tenth


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cached response.

    Attributes:
        version: Entity tag, which changes with the response.
        body: HTML as UTF-8.
        packed: The same, compressed with gzip.
    """

    version: str
    body: bytes
    packed: bytes

    @classmethod
    def of(cls, html: str, version: str = "") -> Prepared:
        """Create a response; its version is a digest of the HTML unless another is given."""
        body = html.encode("utf-8", "replace")
        version = version or f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        return cls(version, body, gzip.compress(body, _LEVEL, mtime=0))


@dataclass(slots=True)
class _Budget:
    """Limits repeated work to a share of one CPU while a plan runs."""

    directory: Path
    not_before: float = field(default=0.0)  # moment of `time.monotonic()`

    def is_spent(self) -> bool:
        """Whether a plan runs and repeating the work now would use too much CPU time."""
        return time.monotonic() < self.not_before and run_facts(self.directory) is not None

    def spend(self, began: float) -> None:
        """Record that the work took the time since `began`."""
        ended = time.monotonic()
        self.not_before = ended + (ended - began) / _SHARE


@dataclass(frozen=True, slots=True)
class _Made:
    """The generated content, and the runs for its plots."""

    answer: Prepared
    title: str
    runs: Runs


class LiveResults:
    """Current content of a log directory.

    Args:
        directory: The log directory.
    """

    def __init__(self, directory: Path) -> None:
        from dlbs.results.read.logs import KeptLogs

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
        """Current progress; cached to limit the cost."""
        from dlbs.results.page.assets import fragment

        if self._made is None and self._making.locked() and (count := self._files()) >= _MANY_FILES:
            return Prepared.of(
                fragment("first.html", {"count": count})
            )  # do not read the same logs twice at the same time
        return Prepared.of(fragment("live.html", self._now()))

    def content(self) -> Prepared:
        """Content of the page without plots. While a plan runs, it may be outdated if generating it takes long."""
        return self._content().answer

    def plots(self) -> Prepared:
        """Plots of the current content. While a plan runs, they may be outdated if drawing them takes long."""
        from dlbs.results.page.assets import fragment
        from dlbs.results.page.report import figures_of

        made = self._content()
        with self._drawing:
            known = self._plots
            if known is not None and (known.version == made.answer.version or self._plots_budget.is_spent()):
                return known
            began = time.monotonic()
            self._plots = Prepared.of(fragment("plots.html", {"plots": figures_of(made.runs)}), made.answer.version)
            self._plots_budget.spend(began)
            return self._plots

    def page(self) -> Prepared:
        """The whole page; a placeholder that polls for its content while many logs are read for the first time."""
        from dlbs.results.page.assets import fragment
        from dlbs.results.page.report import live_page_html, page_title
        from dlbs.results.runs import Runs

        if self._made is None and (count := self._files()) >= _MANY_FILES:
            return Prepared.of(live_page_html(fragment("first.html", {"count": count}), page_title(Runs.of([])), ""))
        made = self._content()
        return Prepared.of(live_page_html(made.answer.body.decode(), made.title, made.answer.version))

    def _files(self) -> int:
        try:
            with os.scandir(self.directory) as entries:
                return sum(1 for _ in entries)
        except OSError:  # the page reports it
            return 0

    def _now(self, *, fresh: bool = False) -> dict[str, Any]:
        """Variables of the current progress; `fresh` reads the directory again even if the last reading is recent."""

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
                digest.update(
                    f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode(
                        "utf-8", "surrogateescape"
                    )
                )
        return f'"{digest.hexdigest()[:32]}"'

    def _make(self, version: str) -> _Made:
        from dlbs.config.load import load_config
        from dlbs.results.page.assets import fragment
        from dlbs.results.page.report import Chosen, page_content, page_title
        from dlbs.results.read.onelog import Reading
        from dlbs.results.runs import Runs

        reading = Reading()
        runs = Runs.of([])
        problems: list[str] = []
        # An empty directory is not an error: a plan is about to run.
        if any(self.directory.rglob("*.log*")):
            try:
                runs = self._logs.read(reading)
                runs = runs.where(not str(log).endswith(".part") for log in runs.values("exp.log_file"))
            except LogError as error:
                problems.append(str(error))
        self._problems = (*problems, *Reading(reading.errors).messages())
        with self._watching:
            for log, stamp, record in self._logs.complete():
                self._watch.learn(Path(log), stamp, record)
        runs = Runs.of(runs, load_config().declarations)
        # The page is cached until a log changes, so its progress must not be older than the logs.
        content = page_content(runs, reading.paths, self._now(fresh=True), Chosen(), later=True)
        return _Made(Prepared.of(fragment("content.html", content), version), page_title(runs), runs)
