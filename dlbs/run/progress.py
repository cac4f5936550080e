"""Show the progress of a plan: a live bar in a terminal, plain lines elsewhere, a JSON file for programs.

The main thread draws the display when an experiment begins or ends, and every two seconds in between: a thread that
animates a bar ten times per second would disturb the benchmark.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

from benchmark_core.text import printable, short_number
from dlbs.core.doubts import short_doubts
from dlbs.core.errors import DlbsError
from dlbs.core.experiment import Experiment, describe, log_path
from dlbs.core.files import dump_json, write_atomically
from dlbs.core.logs import batch_time
from dlbs.core.text import duration, finite, indented, plus_minus, rate_per, shown, text
from dlbs.executors.base import Outcome
from dlbs.run.driver import Event, Observer, Summary
from dlbs.run.status import Durations, Remaining, kind_of_log, last_line, remaining_document, remaining_time

if TYPE_CHECKING:
    from rich.live import Live


_TICK_SECONDS = 2.0
_SHORTEST_LEFT = 0.5  # seconds: shorter times are not shown
_DAY = 86_400.0  # seconds
_MOST_LINES = 16  # experiments that are shown at the same time
_MOST_QUEUED = 64  # queued experiments that are checked for having begun


@dataclass
class _Running:
    """A running experiment: its label, its log, and its start (`time.monotonic()`).

    Attributes:
        slot: Its position among concurrent experiments, from 1; fixed, so that its line stays in place when others end.
        began: Whether it writes its log; on a cluster it may be waiting in a queue.
    """

    label: str
    log: Path
    since: float
    slot: int
    began: bool = False


class _Plain:
    """A redirected stream of a terminal, whose text contains no control sequences."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, words: str) -> int:
        return self._stream.write(shown(words))

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # click would write to it instead
            raise AttributeError(name)
        return getattr(self._stream, name)


class Progress(Observer):
    """The progress display of a plan.

    Args:
        file: A JSON file to keep up to date, for other programs.
        quiet: Show nothing.
        verbose: Without a terminal, also print when experiments begin.
        names: The parameters that differ between experiments of the plan, for their labels.
    """

    def __init__(
        self,
        *,
        file: str | os.PathLike[str] | None = None,
        quiet: bool = False,
        verbose: bool = False,
        names: Sequence[str] = (),
    ) -> None:
        self.file = None if file is None else Path(os.path.realpath(file) if os.path.islink(file) else file)
        self.quiet, self.verbose, self.names = quiet, verbose, names
        self.summary = Summary()
        self._running: dict[str, _Running] = {}  # keyed by log file
        self.kinds: Counter[str] = Counter()  # of experiments that have not ended
        self._durations = Durations()  # of the experiments that have run
        self._began = time.monotonic()
        self._most_running = 1
        self._live: Live | None = None
        self._file_failed = False
        self._announced = False

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(file=getattr(sys.stderr, "styled", sys.stderr), emoji=False),
                auto_refresh=False,
                transient=True,
            )
            self._live.start()  # it redirects the standard streams, to write above the bar
            sys.stdout, sys.stderr = cast("TextIO", _Plain(sys.stdout)), cast("TextIO", _Plain(sys.stderr))
            self.tick_seconds = _TICK_SECONDS
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.clear()
        self._update_file(finished=True)
        if self._live is not None:
            self._live.stop()

    def begin(self, summary: Summary) -> None:
        """Begin the display of a run.

        Raises:
            ConfigError: The progress file cannot be written, before anything runs.
        """
        self.summary = summary
        self._draw()
        try:
            self._write_file()
        except DlbsError:
            self.file = None
            raise

    def say(self, line: str) -> None:
        """Print a line among those of the experiments."""
        self._say(printable(line))

    def notify(self, event: Event) -> None:
        """Show an event."""
        if event.kind in {"skipped", "ended"}:
            self.kinds[self._kind(event.experiment)] -= 1
        if event.kind == "skipped":
            return
        if event.kind == "started":
            self._begin(event.experiment)
        else:
            self._end(event)
        self._draw()
        if event.kind in {"started", "ended"}:
            self._update_file()

    def tick(self) -> None:
        """Redraw the display."""
        self._draw()

    def _begin(self, experiment: Experiment) -> None:
        label = describe(experiment, self.names)
        log = log_path(experiment, Path.cwd())
        self._running[str(experiment["exp.log_file"])] = _Running(label, log, time.monotonic(), self._free_slot())
        self._detect_begun()
        self._announce_waiting(experiment)
        if self.verbose:
            self._say(f"{self._position()} {label}: started")

    def _end(self, event: Event) -> None:
        """Show that an experiment has ended, will be retried, or was cancelled before it began."""
        self._detect_begun()
        experiment, outcome = event.experiment, event.outcome
        ran = self._running.pop(str(experiment["exp.log_file"]), None)
        if outcome is None:
            return
        label = describe(experiment, self.names) if ran is None else ran.label
        words = _outcome_text(experiment, outcome)
        if event.kind == "retried":
            self._say(f"{self._position()} {label}: attempt {experiment.get('exp.attempt') or 1}: {words}; retrying")
            return
        if ran is not None:
            self._durations.add(self._kind(experiment), outcome.seconds)
        self._say(f"{self._position()} {label}: {words}")

    def _kind(self, experiment: Experiment) -> str:
        kind = kind_of_log(str(experiment["exp.log_file"]))
        return kind if kind in self.kinds else ""

    def _position(self) -> str:
        return f"[{self.summary.done}/{self.summary.total}]"

    @property
    def _failed(self) -> int:
        return self.summary.outcomes["failure"] + self.summary.outcomes["timeout"]

    def remaining(self) -> Remaining | None:
        """The remaining time, from the durations so far; None before the first experiment ended."""
        self._detect_begun()
        now = time.monotonic()
        running = [now - one.since for one in self._running.values() if one.began]
        left = +self.kinds
        left[""] += self.summary.total - self.summary.done - left.total()  # those of a plan that grows
        return remaining_time(self._durations, +left, running, self._most_running)

    def _free_slot(self) -> int:
        taken = {one.slot for one in self._running.values()}
        return next(slot for slot in range(1, len(taken) + 2) if slot not in taken)

    def _detect_begun(self) -> None:
        """Detect experiments that have left the queue."""
        for one in islice((one for one in self._running.values() if not one.began), _MOST_QUEUED):
            if os.path.lexists(f"{one.log}.part"):
                one.began, one.since = True, time.monotonic()
        self._most_running = max(self._most_running, sum(one.began for one in self._running.values()))

    def _announce_waiting(self, experiment: Experiment) -> None:
        """Print once that an experiment waits for nodes that the user starts; its own messages go to its log."""
        if self._announced or int(experiment.get("exp.num_nodes") or 1) == 1 or experiment.get("exp.nodes"):
            return
        if not experiment.get("exp.rendezvous"):
            return
        self._announced = True
        seconds = float(experiment.get("exp.rendezvous_timeout") or 0)
        end = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
        which = f"node {experiment.get('exp.node_rank', 0)} of {experiment['exp.num_nodes']}"
        where = f"for the other nodes at {text(experiment['exp.rendezvous'])} until {end}"
        self._say(f"{which}: waits {where} ({seconds:g} s; exp.rendezvous_timeout)")

    def _say(self, line: str) -> None:
        if self._live is not None:
            console = self._live.console
            console.print(indented(line, console.width, "", "  "), markup=False, highlight=False, soft_wrap=True)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if self._live is None:
            return
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        running = sorted(self._running.values(), key=lambda one: one.slot)
        slots = Table.grid(padding=(0, 1), expand=True)
        slots.add_column(justify="right", no_wrap=True)
        # The output of an experiment is truncated before its label.
        slots.add_column(no_wrap=True, overflow="ellipsis", ratio=3)
        slots.add_column(justify="right", no_wrap=True)
        slots.add_column(no_wrap=True, overflow="ellipsis", ratio=4)
        for one in running[:_MOST_LINES]:
            slots.add_row(
                str(one.slot), Text(one.label), duration(now - one.since), Text(last_line(one.log), style="dim")
            )
        lines: list[Text | Table] = [slots] if running else []
        if len(running) > _MOST_LINES:
            lines.append(Text(f"  and {len(running) - _MOST_LINES} more"))
        summary = self.summary
        words = [f"{summary.done}/{summary.total}"]
        if self._failed:
            words.append(f"{self._failed} failed")
        if summary.doubts.doubtful:
            words.append(f"{summary.doubts.doubtful} doubtful")
        if rate := rate_per(self._durations.count, now - self._began, "experiments"):
            words.append(rate)
        total = Table.grid(padding=(0, 1))
        total.add_row(ProgressBar(total=summary.total, completed=summary.done, width=24), " | ".join(words))
        left = self.remaining()
        if left is not None and left.seconds >= _SHORTEST_LEFT:
            end = time.localtime(time.time() + left.seconds)
            lines.append(
                Text(f"{left.words()}, until {time.strftime('%H:%M' if left.seconds < _DAY else '%a %H:%M', end)}")
            )
        self._live.update(Group(*lines, total), refresh=True)

    def _update_file(self, finished: bool = False) -> None:
        """Update the progress file; a failure to write it, as on a full disk, does not stop the plan."""
        try:
            self._write_file(finished)
        except DlbsError as error:
            if not self._file_failed:
                self._say(f"warning: progress file: {printable(str(error))}; the plan continues")
            self._file_failed = True

    def _write_file(self, finished: bool = False) -> None:
        if self.file is None:
            return
        summary = self.summary
        not_run = {"finished": summary.kept, "inactive": summary.inactive, "simulated": summary.simulated}
        state = {
            "total": summary.total,
            "done": summary.done,
            "failed": self._failed,
            "doubtful": summary.doubts.doubtful,
            "left": summary.total - summary.done,
            "statuses": {why: count for why, count in not_run.items() if count} | dict(summary.outcomes),
            "current": [one.label for one in self._running.values()],
            **remaining_document(self.remaining()),
            "running": not finished,
            "pid": os.getpid(),
            "updated": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        # Not into a pipe, which would block experiments until it is read.
        with write_atomically(self.file, follow=False, sync=False) as stream:
            stream.write(dump_json(state) + "\n")


def _outcome_text(experiment: Experiment, outcome: Outcome) -> str:
    words = f"{outcome.status} in {duration(outcome.seconds)}"
    accuracy, throughput = (finite(outcome.results.get(f"results.{name}")) for name in ("accuracy_top1", "throughput"))
    if outcome.status == "ok" and accuracy is not None:
        words += f", accuracy {accuracy:.2f} %"
    if outcome.status == "ok" and throughput is not None:
        words += f", {short_number(throughput)} {text(outcome.results.get('results.unit', 'instances'))}/s"
    elif outcome.status == "ok" and (time := batch_time(outcome.results)) is not None:
        words += f", {_time_words(time, outcome.results.get('results.time_std'))}"
    if outcome.status == "ok" and (doubts := short_doubts(outcome.results)):
        words += f" ⚠ {', '.join(doubts)}"
    if outcome.message:
        words += f": {outcome.message}"
    if outcome.status not in {"ok", "skipped"}:
        words += f" (log: {text(experiment.get('exp.log_file'))})"
    return printable(words)


def _time_words(time: float, deviation: object) -> str:
    """A mean time with its standard deviation, if known: `24.31 ± 0.52 ms`."""
    spread = "" if (one := finite(deviation)) is None else f" ± {plus_minus(one)}"
    return f"{short_number(time)}{spread} ms"
