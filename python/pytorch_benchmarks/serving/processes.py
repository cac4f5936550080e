"""Worker processes with separate copies of the model, and the backend that sends them batches."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.program import explain
from pytorch_benchmarks.serving.backend import Progress

__all__ = ["ProcessBackend", "how_ended"]


class ProcessBackend:
    """A backend in a new process; a fork of this process could not compute with several threads.

    Args:
        options: The process builds its model from them.

    Raises:
        BenchmarkError: The process died, or failed: then the error is of the same class as that of the process, since some have their own exit
            codes; this applies to all methods.
    """

    def __init__(self, options: BenchmarkOptions) -> None:
        from torch.multiprocessing import get_context

        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, options), daemon=True)
        self._process.start()
        theirs.close()
        self._until_done(None)

    def warm_up(self) -> None:
        self._send(None)
        self._until_done(None)

    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        self._send(list(samples))
        self._until_done(progress)

    def close(self) -> None:
        self._connection.close()
        self._process.join()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._died() from None

    def _until_done(self, progress: Progress | None) -> None:
        while True:
            try:
                event, *values = self._connection.recv()
            except (EOFError, OSError):
                raise self._died() from None
            if event == "end":
                return
            if event == "error":
                (error,) = values
                raise type(error)(f"a worker process failed: {error}")
            if progress is not None:
                getattr(progress, event)(*values)

    def _died(self) -> BenchmarkError:
        self._process.join()
        return BenchmarkError(
            f"a worker process (pid {self._process.pid}) ended {how_ended(self._process)} before it had answered"
        )


def how_ended(process: BaseProcess) -> str:
    """How a process ended: `by signal 9`, `with exit code 1`."""
    code = process.exitcode or 0
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


class _Sender:
    """Sends the progress of a batch to the process that waits for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def first_token(self, positions: Sequence[int]) -> None:
        self._connection.send(("first_token", list(positions)))

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        self._connection.send(("done", list(positions), list(tokens)))


def _serve(connection: Connection, options: BenchmarkOptions) -> None:
    """Main function of a worker process; it ends when the other end of the pipe is closed."""
    import torch

    from pytorch_benchmarks.devices import make_current, select_device, set_backends
    from pytorch_benchmarks.precision import choose_precision
    from pytorch_benchmarks.serving.local import build_local

    try:
        device = select_device(options)
        make_current(device)
        precision = choose_precision(options, device)
        set_backends(options, tf32=precision.tf32)
        torch.manual_seed(options.seed)
        backend = build_local(options, device, precision).make_backend()
        gc.collect()
        gc.disable()  # a collection would delay answers by up to 0.2 s
        connection.send(("end",))
        progress = _Sender(connection)
        while True:
            samples = connection.recv()
            if samples is None:
                backend.warm_up()
            else:
                backend.answer(samples, progress)
            connection.send(("end",))
    except (EOFError, OSError):
        pass  # the program has ended, or no longer needs this process
    except KeyboardInterrupt:
        pass
    except Exception as error:
        explained = explain(error, options) or BenchmarkError(f"{type(error).__name__}: {error}")
        with suppress(OSError):  # the program has ended
            connection.send(("error", explained))
    with suppress(OSError):  # of a closed pipe, which is the concern of the program
        sys.stdout.flush()
    os._exit(0)
