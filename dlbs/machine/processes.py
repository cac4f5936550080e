"""The processes of an experiment as the monitor samples them: CPU time, memory, threads and files of the process tree."""

from __future__ import annotations

import subprocess
from typing import Any

__all__ = ["PROCESS_SERIES", "ProcessTree"]

PROCESS_SERIES = ("cpu", "mem_res", "mem_virt", "mem_shrd", "threads", "io_read", "io_write")


# Seconds. Searching for processes reads every process of the machine, which may take longer than a short experiment; reading
# known ones is cheap.
_FIRST_SEARCH, _SEARCH = 0.01, 1.0


class ProcessTree:
    """The processes of an experiment."""

    def __init__(self, container: str, docker: str) -> None:
        import psutil

        self._psutil = psutil
        self._roots: list[Any] = []
        self._container, self._docker = container, docker
        self._known: dict[int, Any] = {}
        self._look_at = 0.0
        self._ended = dict.fromkeys(("cpu", "io_read", "io_write"), 0.0)  # of processes that have ended
        self._last: dict[int, dict[str, float]] = {}

    def watch(self, pid: int, now: float) -> None:
        """Count this process, which has just started, and all its descendants."""
        process = self._psutil.Process(pid)
        self._roots.append(process)
        self._known[pid] = process
        self._look_at = now + _FIRST_SEARCH

    def used(self, now: float) -> dict[str, float]:
        """Resources used by all processes so far (CPU seconds, bytes read and written) and occupied now (bytes, threads)."""
        if now >= self._look_at:
            self._look()
            self._look_at = now + _SEARCH
        self._look_near()
        total = dict.fromkeys(PROCESS_SERIES, 0.0)
        for pid, process in list(self._known.items()):
            try:
                one = self._of(process)
            except self._psutil.Error:
                del self._known[pid]
                for name, value in self._last.pop(pid, {}).items():
                    if name in self._ended:
                        self._ended[name] += value
                continue
            self._last[pid] = one
            for name, value in one.items():
                total[name] += value
        for name, value in self._ended.items():
            total[name] += value
        return total

    def _of(self, process: Any) -> dict[str, float]:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            threads = process.num_threads()
        try:
            io = process.io_counters()
            read, written = float(io.read_bytes), float(io.write_bytes)
        except (self._psutil.Error, AttributeError):
            read = written = 0.0
        return {
            "cpu": times.user + times.system,
            "mem_res": float(memory.rss),
            "mem_virt": float(memory.vms),
            "mem_shrd": float(getattr(memory, "shared", 0)),
            "threads": float(threads),
            "io_read": read,
            "io_write": written,
        }

    def _look_near(self) -> None:
        """Find new children of the main threads of known processes, if the kernel lists them.

        Called at every sample, since it costs one file read each: otherwise, CPU time used before a process is found counts for one sample.
        """
        waiting = list(self._known)
        while waiting:
            pid = waiting.pop()
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as stream:
                    children = list(map(int, stream.read().split()))
                for child in children:
                    if child not in self._known:
                        self._known[child] = self._psutil.Process(child)
                        waiting.append(child)
            except (OSError, self._psutil.Error):
                continue

    def _look(self) -> None:
        """Find new descendants."""
        if self._container and len(self._roots) == 1:
            self._find_container()
        for root in self._roots:
            try:
                for process in (root, *root.children(recursive=True)):
                    self._known.setdefault(process.pid, process)
            except self._psutil.Error:
                continue

    def _find_container(self) -> None:
        command = [self._docker, "inspect", "--format", "{{.State.Pid}}", self._container]
        try:
            completed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            pid = int(completed.stdout)
            if pid > 0:
                self._roots.append(self._psutil.Process(pid))
        except (OSError, ValueError, subprocess.TimeoutExpired, self._psutil.Error):
            return  # not started yet, or the daemon runs on another machine
