"""Taking turns with other processes, so that the sides of a comparison run in the same moments. docs/launchers.md describes the protocol.

A program of your own takes part with these lines:

    from benchmark_core.turns import Turns

    turns = Turns.from_environment()  # None if it runs alone
    for seconds in turns or ():
        ...  # the first turn: warm up; every other turn: run batches for about this many seconds, at least one
        turns.add(batches, seconds_that_they_took)
    print(*turns.lines(), sep="\\n")
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from typing import Any

from benchmark_core.exits import BenchmarkError
from benchmark_core.log import key_line

TURNS_VARIABLE = "DLBS_TURNS"  # a directory with two FIFOs: `turn` to the program, `done` from it
PAIR = "results.turns.pair"
_LOOK, _PATIENCE = 0.002, 0.5  # seconds between looks at the CPU clock, and in all
_IDLE = 0.1  # share of a CPU that a program at rest uses


class Turns:
    """The turns of this process: iterate over them, and add what each one measured.

    Between turns the process waits in a blocking read, and a turn ends only when its threads are at rest: those of OpenMP and the like spin for a
    while after their work, on the CPUs of the partner.

    Args:
        directory: The value of DLBS_TURNS.

    Attributes:
        pair: Identity of this process and its partners; empty before the last turn.

    Raises:
        BenchmarkError: Nobody gives turns there, or, when iterating, the one who does has ended.
    """

    def __init__(self, directory: str) -> None:
        try:
            # Opening does not wait: whoever gives turns has both ends open, or has ended.
            turn = os.open(os.path.join(directory, "turn"), os.O_RDONLY | os.O_NONBLOCK)
            done = os.open(os.path.join(directory, "done"), os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            reason = "the program that gives turns has ended" if error.errno == errno.ENXIO else error.strerror
            raise BenchmarkError(f"{TURNS_VARIABLE}: {reason}: {error.filename}") from None
        for descriptor in (turn, done):
            os.set_blocking(descriptor, True)
        self._turn, self._done = open(turn, encoding="ascii"), open(done, "w", encoding="ascii")
        self.pair = ""
        self._columns: dict[str, list[float | None]] = {"times": [], "batches": [], "starts": [], "loads": []}
        self._began = 0.0

    @classmethod
    def from_environment(cls) -> Turns | None:
        """The turns of this process; None if it runs alone."""
        directory = os.environ.pop(TURNS_VARIABLE, "")  # its own children run in its turns
        return cls(directory) if directory else None

    def __iter__(self) -> Iterator[float]:
        """Wait for each turn; yields its seconds. The first one is for warm-up."""
        self._say("ready")
        while True:
            word, _, value = self._turn.readline().strip().partition(" ")
            if not word:
                raise BenchmarkError("the program that gives turns has ended")
            if word == "end":
                self.pair = value
                return
            self._began = time.time()
            yield float(value)
            _come_to_rest()
            self._say("done")

    def add(self, batches: int, seconds: float, load: float | None = None) -> None:
        """Add the batches of this turn, their time, and the share of the CPUs that other programs used."""
        for name, value in (
            ("times", 1000.0 * seconds / batches),
            ("batches", batches),
            ("starts", self._began),
            ("loads", load),
        ):
            self._columns[name].append(value if value is None else round(value, 6))

    def metrics(self) -> dict[str, Any]:
        """Log values."""
        return {**{f"results.turns.{name}": values for name, values in self._columns.items()}, PAIR: self.pair}

    def lines(self) -> list[str]:
        """Log lines of all turns."""
        return [key_line(key, value) for key, value in self.metrics().items()]

    def _say(self, word: str) -> None:
        try:
            self._done.write(f"{word}\n")
            self._done.flush()
        except OSError:
            raise BenchmarkError("the program that gives turns has ended") from None


def _come_to_rest() -> None:
    """Wait until this process uses no CPU."""
    deadline = time.perf_counter() + _PATIENCE
    while (before := time.perf_counter()) < deadline:
        used = time.process_time()
        time.sleep(_LOOK)
        if time.process_time() - used < _IDLE * (time.perf_counter() - before):
            return
