"""Run launchers on this machine, in slots."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

from dlbs.executors.base import Outcome
from dlbs.executors.job import Job
from dlbs.executors.signals import Signals
from dlbs.executors.slots import Grant, Slots
from dlbs.experiment import Experiment
from dlbs.launch.script import Launcher
from dlbs.machine.resources import Request
from dlbs.text import text

__all__ = ["LocalExecutor"]

_GRACE = 10.0  # seconds between asking a group of processes to end and ending it


class LocalExecutor:
    """Runs launchers as process groups of their own, several at a time if wanted.

    Args:
        signals: The context whose signals end a run.
        render: Makes the launcher of an experiment.
        jobs: How many experiments may run at the same time.
        slots: What they share.
        tick: Called about every `tick_seconds` while experiments run, for progress displays.
        tick_seconds: None to be called never.
        grace: Seconds that an experiment has to end by itself when it is asked to.

    Attributes:
        running: Experiments under way, in the order in which they were started.
    """

    def __init__(
        self,
        signals: Signals,
        render: Callable[[Experiment], Launcher],
        *,
        jobs: int = 1,
        slots: Slots | None = None,
        tick: Callable[[], None] | None = None,
        tick_seconds: float | None = None,
        grace: float = _GRACE,
    ) -> None:
        self.signals, self.render, self.jobs = signals, render, jobs
        self.slots = Slots() if slots is None else slots
        self.tick, self.tick_seconds, self.grace = tick, tick_seconds, grace
        self.running: list[Job] = []

    def start(self, experiment: Experiment) -> bool:
        """Start an experiment if there is room for it now.

        Raises:
            LaunchError: It cannot run at all.
        """
        if len(self.running) >= self.jobs:
            return False
        request = Request.of(experiment)
        self.slots.check(request)
        grant = self.slots.take(request)
        if grant is None:
            return False
        try:
            job = Job(self.render(_placed(experiment, grant)), grant, grace=self.grace)
        except BaseException:
            self.slots.give_back(grant)
            raise
        for other in self.running:
            other.neighbours.append(text(experiment.get("exp.id")))
            job.neighbours.append(text(other.launcher.experiment.get("exp.id")))
        self.running.append(job)
        return True

    def wait(self, until: float | None = None) -> Iterator[tuple[Experiment, Outcome]]:
        """Block until experiments end, a signal comes or it is time; give those that have ended.

        Args:
            until: A moment of `time.monotonic()`; None for no other than the experiments' own.
        """
        moments = [moment for job in self.running for moment in job.moments()]
        if until is not None:
            moments.append(until)
        if self.tick is not None and self.tick_seconds is not None:
            self.tick()
            moments.append(time.monotonic() + self.tick_seconds)
        self.signals.wait_until(min(moments, default=None))
        if self.signals.stop_signal:
            self.end_all(f"stopped by {signal.Signals(self.signals.stop_signal).name}")
        for job in list(self.running):
            outcome = job.look()
            if outcome is not None:
                self.running.remove(job)
                self.slots.give_back(job.grant)
                yield job.launcher.experiment, outcome

    def end_all(self, message: str) -> None:
        """Ask all experiments to end, as cancelled."""
        for job in self.running:
            job.end("cancelled", message)


def _placed(experiment: Experiment, grant: Grant) -> Experiment:
    """The experiment with what it got: exp.gpu_ids, exp.cpus."""
    placed = dict(experiment)
    if text(experiment.get("exp.gpus")).startswith("any:"):
        placed["exp.gpu_ids"] = ",".join(map(str, grant.gpus))
    if grant.cpus:
        placed["exp.cpus"] = ",".join(map(str, grant.cpus))
    return placed
