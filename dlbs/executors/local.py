"""Run experiments on this machine, in slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dlbs.executors.base import Check, Executor, Outcome
from dlbs.executors.job import Job
from dlbs.executors.local_checks import LOCAL_CHECKS
from dlbs.executors.slots import Grant, Slots
from dlbs.experiment import Experiment
from dlbs.launch.script import make_launcher
from dlbs.machine.resources import Request
from dlbs.text import text

__all__ = ["LocalExecutor"]

_GRACE = 10.0  # seconds between TERM and KILL of a process group


class LocalExecutor(Executor):
    """Run launchers in their own process groups, several at a time if requested.

    Args:
        directory: Where experiments run.
        jobs: Experiments that may run at the same time; one by default, because competing load distorts measurements.
        slots: The resources that they share.
        grace: Seconds between TERM and KILL of an experiment.
        allocated: Whether a scheduler allocated the GPUs that are visible here to the one experiment that runs: it gets
            the first of them, as many as it requests, whichever numbers it names.
    """

    checks: Sequence[Check] = LOCAL_CHECKS

    def __init__(
        self,
        directory: Path,
        jobs: int | None = None,
        *,
        slots: Slots | None = None,
        grace: float = _GRACE,
        allocated: bool = False,
    ) -> None:
        self.directory, self.jobs, self.grace = directory, jobs or 1, grace
        self.slots = Slots() if slots is None else slots
        self._allocated = allocated
        self._jobs: list[Job] = []

    @property
    def running(self) -> int:
        return len(self._jobs)

    @property
    def has_room(self) -> bool:
        return len(self._jobs) < self.jobs

    def start(self, experiment: Experiment) -> bool:
        if not self.has_room:
            return False
        request = Request.of(experiment, allocated=self._allocated)
        self.slots.check(request)
        grant = self.slots.take(request)
        if grant is None:
            return False
        try:
            job = Job(make_launcher(_placed(experiment, request, grant), self.directory), grant, grace=self.grace)
        except BaseException:
            self.slots.give_back(grant)
            raise
        for other in self._jobs:
            other.concurrent.append(text(experiment.get("exp.id")))
            job.concurrent.append(text(other.launcher.experiment.get("exp.id")))
        self._jobs.append(job)
        return True

    def next_look(self) -> float | None:
        return min((moment for job in self._jobs for moment in job.moments()), default=None)

    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        for job in list(self._jobs):
            outcome = job.look()
            if outcome is not None:
                self._jobs.remove(job)
                self.slots.give_back(job.grant)
                yield job.launcher.experiment, outcome

    def end_all(self, message: str) -> None:
        for job in self._jobs:
            job.end("cancelled", message)


def _placed(experiment: Experiment, request: Request, grant: Grant) -> Experiment:
    """The experiment with the resources it was granted: exp.gpu_ids, exp.cpus."""
    placed = dict(experiment)
    if request.any_gpus:
        placed["exp.gpu_ids"] = ",".join(map(str, grant.gpus))
    if grant.cpus:
        placed["exp.cpus"] = ",".join(map(str, grant.cpus))
    return placed
