"""A new process that loads the model and runs the trials of a search on request."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.measure.competing_load import CompetingLoad
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.program import explain
from pytorch_benchmarks.serving.limit import Trial
from pytorch_benchmarks.serving.processes import how_ended

__all__ = ["FreshProcess"]

_PATIENCE = 10.0  # seconds for a process that has done its work to end


class _ChildError(Exception):
    """The traceback of an error in the child, as text; the cause of the error that is raised in this process."""


class FreshProcess:
    """One process of a search: a new interpreter with a new copy of the model.

    Args:
        options: The process builds its model, or its connections, from them.
        number: Of the process in the search, from 1.
        directory: For the logs of LoadGen.

    Attributes:
        facts: Values that the process logged while it built the model.

    Raises:
        BenchmarkError: The process died, or what the process raised; this applies to all methods.
    """

    def __init__(self, options: BenchmarkOptions, number: int, directory: Path) -> None:
        from torch.multiprocessing import get_context

        self._number = number
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        # Not a daemon: daemons cannot have children, and its workers may be processes.
        self._process = context.Process(target=_work, args=(theirs, options, directory))
        resource_tracker.ensure_running()  # some versions of Python unblock signals when they start it
        # Ctrl-C reaches all processes of a terminal. This process handles it and ends the child, which inherits the blocked signal.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        try:
            self.facts: dict[str, Any] = self._receive("start")
        except BaseException:
            self.kill()
            raise

    def offline(self) -> float:
        """See `Probe.offline`."""
        return float(self._call("offline"))

    def unloaded(self) -> tuple[float, bool]:
        """See `Probe.unloaded`."""
        latency, is_above = self._call("unloaded")
        return latency, is_above

    def trial(self, rate: float, number: int) -> Trial:
        """See `Probe.trial`."""
        found: Trial = self._call("trial", rate, number)
        return found

    def confirm(self, rate: float) -> dict[str, Any]:
        """See `Probe.confirm`."""
        values: dict[str, Any] = self._call("confirm", rate)
        return values

    def close(self) -> tuple[CompetingLoad, int]:
        """End the process; returns the load of other programs during its life, and its number of queries."""
        load, count = self._call("")
        self._connection.close()
        self._process.join(_PATIENCE)
        self.kill()
        return load, count

    def kill(self) -> None:
        """End the process at once, if it still runs; its workers end with it."""
        self._process.kill()
        self._process.join()

    def _call(self, name: str, *arguments: Any) -> Any:
        with suppress(OSError):  # the process has died, which `_receive` reports
            self._connection.send((name, *arguments))
        return self._receive(name or "end")

    def _receive(self, request: str) -> Any:
        try:
            is_error, value, trace = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise BenchmarkError(
                f"process {self._number} of the search (pid {self._process.pid}) ended {how_ended(self._process)} "
                f"before its answer to {request!r}"
            ) from None
        if not is_error:
            return value
        raise value from _ChildError(trace)


def _work(connection: Connection, options: BenchmarkOptions, directory: Path) -> None:
    """Main function of the process; it ends on request, and when its parent ends."""
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=[parent.join], daemon=True).start()
    try:
        _answer(connection, options, directory)
    except Exception as error:
        # Only this process can tell which frames of the traceback are those of an architecture.
        explained = explain(error, options) or error
        with suppress(OSError):  # the parent has ended
            connection.send((True, _portable(explained), traceback.format_exc()))
    with suppress(OSError):  # of a closed pipe, which is the concern of the parent
        sys.stdout.flush()
    os._exit(0)


def _end_after(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)


def _answer(connection: Connection, options: BenchmarkOptions, directory: Path) -> None:
    import torch

    from pytorch_benchmarks.devices import make_current, select_device, set_backends
    from pytorch_benchmarks.precision import choose_precision
    from pytorch_benchmarks.serving.interpreter import undisturbed
    from pytorch_benchmarks.serving.probe import Probe, SilentLog
    from pytorch_benchmarks.serving.subject import make_subject

    device = select_device(options)
    make_current(device)
    precision = choose_precision(options, device)
    set_backends(options, tf32=precision.tf32)
    torch.manual_seed(options.seed)
    log = SilentLog()
    subject = make_subject(options, device, precision, log)
    probe = Probe(options, subject, directory)
    load = CompetingLoad()
    with undisturbed():
        load.start()
        connection.send((False, log.take(), ""))
        while True:
            name, *arguments = connection.recv()
            if not name:
                break
            connection.send((False, getattr(probe, name)(*arguments), ""))
        load.stop()
    probe.close()
    connection.send((False, (load, probe.count), ""))


def _portable(error: Exception) -> Exception:
    """The error, or an error with the same message if it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return BenchmarkError(f"{type(error).__name__}: {error}")
    return error
