"""Give turns to processes that run at the same time, and let those that depend on each other end together; docs/launchers.md has the protocol."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING

from benchmark_core.exits import OK, OUT_OF_MEMORY
from benchmark_core.turns import TURNS_VARIABLE
from dlbs.core.experiment import Experiment
from dlbs.core.text import text
from dlbs.executors.base import Outcome

if TYPE_CHECKING:
    from dlbs.executors.job import Grant, Job

_LONGEST = 1 << 16  # bytes of a line
FEWEST_TURNS = 10  # of each side, however long one takes


class TurnGiver:
    """Gives turns to some processes, one at a time, in random order, from a thread; processes that start over get turns again.

    Each round gives a turn to every process. The first round is for warm-up. The last round is number `count`, or the first one, from the tenth on,
    at whose end a process has used the time of `count` turns: turns of slow batches are longer.

    Args:
        sides: Number of processes.
        seconds: Length of a turn.
        count: Number of turns.

    Attributes:
        environments: Environment variables of each process.
        states: Of each process: empty, `waits` after it asked for turns, `over` after the last one.
    """

    def __init__(self, sides: int, seconds: float, count: int) -> None:
        self._seconds, self._count = seconds, count
        self._directory = tempfile.mkdtemp(prefix="dlbs-turns-")
        self._channels: list[tuple[int, IO[bytes]]] = []  # to the process, from it
        self.environments: list[dict[str, str]] = []
        for side in range(sides):
            place = Path(self._directory, str(side))
            place.mkdir()
            for name in ("turn", "done"):
                os.mkfifo(place / name)
            # Open for both directions, so that it neither waits for the process nor sees an end of file when that has ended.
            # Writing does not wait either: `close` waits for the thread, and a process may write `done` and read nothing.
            turn, done = os.open(place / "turn", os.O_RDWR | os.O_NONBLOCK), os.open(place / "done", os.O_RDWR)
            self._channels.append((turn, open(done, "rb")))
            self.environments.append({TURNS_VARIABLE: str(place)})
        self.states = [""] * sides
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give no more turns; a process that waits for one sees the end of file."""
        if self._is_closed:
            return
        self._is_closed = True
        for side in range(len(self._channels)):  # wake the thread; where a pipe is full, it has something to read
            writer = os.open(Path(self._directory, str(side), "done"), os.O_WRONLY | os.O_NONBLOCK)
            with suppress(BlockingIOError), open(writer, "wb", buffering=0) as stream:
                stream.write(b"\n")
        self._thread.join()
        for turn, done in self._channels:
            os.close(turn)
            done.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _serve(self) -> None:
        with suppress(BlockingIOError):
            while self._session():
                continue

    def _session(self) -> bool:
        """Give turns to all processes until they have had enough; False after `close`."""
        everybody = range(len(self._channels))
        for side in everybody:
            if not self._hear(side):
                return False
            self.states[side] = "waits"
        pair = secrets.token_hex(8)
        source, order = Random(pair), list(everybody)
        used = [0.0 for _ in everybody]
        for number in range(self._count + 1):
            source.shuffle(order)
            for side in order:
                begin = time.monotonic()
                self._say(side, f"turn {self._seconds:g}")
                if not self._hear(side):
                    return False
                used[side] += time.monotonic() - begin if number else 0.0
            if number >= FEWEST_TURNS and max(used) >= self._count * self._seconds:
                break
        for side in everybody:
            self.states[side] = "over"
            self._say(side, f"end {pair}")
        return True

    def _say(self, side: int, line: str) -> None:
        os.write(self._channels[side][0], f"{line}\n".encode())

    def _hear(self, side: int) -> bool:
        """Wait for a line of a process; False after `close`, or if it writes no lines."""
        line = self._channels[side][1].readline(_LONGEST)
        return not self._is_closed and line.endswith(b"\n")


class Together:
    """Jobs that take turns and end together: if one does not end well, the results of the others are worthless.

    Args:
        jobs: The running jobs.
        giver: Gives turns to them, in this order.
        grant: The resources of all of them.
    """

    def __init__(self, jobs: Sequence[Job], giver: TurnGiver, grant: Grant) -> None:
        self.jobs, self.grant, self._giver = list(jobs), grant, giver
        self._left = list(jobs)
        self._outcomes: list[tuple[Experiment, Outcome]] = []
        self._is_lost = False

    def moments(self) -> Iterator[float]:
        """Times at which `look` is due, in addition to the ends of processes."""
        for job in self._left:
            if self._is_lost or job.exit_code != OK:
                yield from job.moments()

    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        """Do the work that is due; yield the outcomes of all jobs when the last one has ended."""
        for job in list(self._left):
            if job.exit_code == OK and not self._is_lost:
                state = self._giver.states[self.jobs.index(job)]
                if state != "over":
                    what = "took no turns" if not state else "ended before its turns were over"
                    job.end("failure", f"it {what}: -Pturns.seconds=0 runs the sides one after the other")
                elif any(other.exit_code != OK for other in self._left):
                    continue  # its partner may fail
            outcome = job.look()
            if outcome is None:
                continue
            self._left.remove(job)
            self._outcomes.append((job.launcher.experiment, outcome))
            if outcome.status != "ok":
                self._lose(job, outcome)
        if not self._left:
            self._giver.close()
            yield from self._outcomes

    def _lose(self, job: Job, outcome: Outcome) -> None:
        self._is_lost = True
        for other in self._left:
            other.lost_partner = True
            status = outcome.status if outcome.status == "cancelled" else "failure"
            reason = f": {outcome.message}" if outcome.message else ""
            if outcome.exit_code == OUT_OF_MEMORY:
                reason += "; -Pturns.seconds=0 has one side at a time in memory"
            name = text(job.launcher.experiment.get("exp.id"))
            other.end(status, f"its partner {name} did not end well ({outcome.status}{reason})")
