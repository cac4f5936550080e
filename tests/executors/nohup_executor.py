"""An executor in one file, as docs/executors.md shows it: every experiment is a `nohup` process of its own, which outlives `dlbs run`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Set
from pathlib import Path

import psutil

from dlbs.errors import LogError
from dlbs.executors.base import Executor, Outcome
from dlbs.executors.detached import Task, command, environment, read_tasks, write_tasks
from dlbs.experiment import Experiment
from dlbs.files import read_regular

_POLL = 0.2  # seconds


class NohupExecutor(Executor):
    """Runs each experiment in a session of its own; `.dlbs-nohup-TOKEN.jsonl` and `.pid` beside the logs say which and where."""

    detachable = True

    def __init__(self, directory: Path, jobs: int | None = None) -> None:
        self.directory, self.jobs = directory, jobs or 1
        self._files: dict[Path, Task] = {}

    @property
    def running(self) -> int:
        return len(self._files)

    @property
    def has_room(self) -> bool:
        return len(self._files) < self.jobs

    def owned_logs(self, directory: Path) -> Set[Path]:
        files = filter(_process, directory.glob(".dlbs-nohup-*.jsonl"))
        return {task.log for file in files for task in read_tasks(file)}

    def start(self, experiment: Experiment) -> bool:
        if not self.has_room:
            return False
        task = Task.of(experiment, self.directory)
        for file in filter(_process, task.log.parent.glob(".dlbs-nohup-*.jsonl")):
            for earlier in read_tasks(file):
                if earlier.log == task.log:  # of an earlier run
                    self._files[file] = earlier
                    return True
        file = task.log.parent / f".dlbs-nohup-{uuid.uuid4().hex[:12]}.jsonl"
        write_tasks(file, [task])
        shell = ["sh", "-c", f"nohup setsid {command(file)} 0 >/dev/null 2>&1 & echo $!"]
        said = subprocess.run(shell, cwd=self.directory, env=environment(), stdout=subprocess.PIPE, check=True).stdout
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            file.with_suffix(".pid").write_text(f"{int(said)} {psutil.Process(int(said)).create_time()}")
        self._files[file] = task
        return True

    def next_look(self) -> float:
        return time.monotonic() + _POLL

    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        for file, task in list(self._files.items()):
            if _process(file):
                continue
            del self._files[file]
            for own in (file, file.with_suffix(".pid")):
                own.unlink(missing_ok=True)
            yield task.experiment, task.outcome() or Outcome("cancelled", "its process ended without a log")

    def end_all(self, message: str) -> None:
        for file in self._files:
            process = _process(file)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)


def _process(file: Path) -> psutil.Process | None:
    """The process that runs an experiment; None if it has ended."""
    try:
        number, began = read_regular(file.with_suffix(".pid"), 100).split()
        process = psutil.Process(int(number))
        same = abs(process.create_time() - float(began)) < 1  # and not another one with its number
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (LogError, OSError, ValueError, psutil.NoSuchProcess):
        return None
