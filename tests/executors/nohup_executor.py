"""An executor in one file, as docs/launchers.md shows it: every experiment is a `nohup` process of its own, which outlives `dlbs run`."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence

import psutil

from dlbs.core.errors import LaunchError
from dlbs.executors.detached import Batch, DetachedExecutor, Queue, Queued, command, task_environment


class NohupExecutor(DetachedExecutor):
    """Runs each experiment in a session of its own, found by its task file, which is a word of its command."""

    engine = "nohup"
    poll_seconds = (0.2, 1.0)

    @property
    def has_room(self) -> bool:
        return self.running < (self.jobs or 1)

    def submit(self, batch: Batch) -> LaunchError | None:
        words = ["nohup", *shlex.split(command(batch)), "0"]
        with batch.output.open("ab") as output:
            subprocess.Popen(
                words, cwd=self.directory, env=task_environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return None

    def query(self, batches: Sequence[Batch]) -> Queue:
        found: Queue = {}
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()  # none of a process that has ended
            names = {os.path.basename(word) for word in words}
            for batch in batches:
                if batch.file.name in names:
                    found[batch.name] = {0: Queued(str(process.pid))}
        return found

    def cancel(self, tasks: Sequence[str], *, pending: bool = False) -> None:
        for number in () if pending else tasks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGTERM)
