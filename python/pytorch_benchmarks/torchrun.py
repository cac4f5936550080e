"""Run the replicas of a program with torchrun, and end with the error of the replica that failed first.

    python torchrun.py [OPTIONS OF TORCHRUN] PROGRAM ARGUMENTS

torchrun alone ends with its own traceback and exit code 1, whatever the replicas reported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # run as a script, from any directory
    sys.path[0] = str(Path(__file__).absolute().parents[1])

import json
import logging
import signal
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytorch_benchmarks.replica_reasons import REASONS, reason_file
from pytorch_benchmarks.unforeseen import guarded

__all__ = ["main"]

_LONGEST = 1 << 20  # bytes of a reason
_FAILED, _SIGNALLED = 1, 128  # exit codes
_LOST, _ENDED = 1, 2  # a failure caused by another process ranks after one of the replica itself


@dataclass(frozen=True, slots=True)
class _Failure:
    """The failure of a replica.

    Attributes:
        reason: As text; empty if the replica gave none.
        exit_code: Exit code, or minus the signal that ended it.
        time: Seconds since the epoch.
        is_lost: See `leave_reason`.
    """

    rank: int
    reason: str
    exit_code: int
    time: float
    is_lost: bool

    @classmethod
    def of(cls, rank: int, failure: Any, place: str) -> _Failure:
        """From torchrun's `ProcessFailure` and the reason that the replica left."""
        try:
            with open(reason_file(place, str(failure.local_rank)), encoding="utf-8") as stream:
                left = json.loads(stream.read(_LONGEST))
            return cls(rank, str(left["reason"]), int(left["exit_code"]), float(left["time"]), bool(left["is_lost"]))
        except (OSError, LookupError, OverflowError, RecursionError, TypeError, ValueError):  # no reason left
            return cls(rank, "", failure.exitcode, failure.timestamp, False)

    def order(self) -> tuple[int, float]:
        """Sort key: the first failure is the cause of the others."""
        follows = (
            _ENDED if self.exit_code == -signal.SIGTERM else _LOST if self.is_lost else 0
        )  # torchrun sends SIGTERM
        return follows, self.time

    def describe(self) -> str:
        if self.reason:
            return self.reason
        if self.exit_code >= 0:
            return f"replica {self.rank} ended with exit code {self.exit_code} and gave no reason"
        hint = ": the system may have run out of memory" if self.exit_code == -signal.SIGKILL else ""
        return f"replica {self.rank} was ended by {_name(-self.exit_code)}{hint}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run replicas to completion, and return the exit code of the one that failed first."""
    from torch.distributed.elastic.multiprocessing import SignalException

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="replicas-") as place:
            return _run(words, place)
    except SignalException as error:
        number = int(error.sigval)
        return _fail("interrupted" if number == signal.SIGINT else f"ended by {_name(number)}", _SIGNALLED + number)


def _run(words: Sequence[str], place: str) -> int:
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.run import parse_args, run

    is_debugging = "--debug" in words
    if not is_debugging:
        os.environ[REASONS] = place
        _silence("torch.distributed.elastic")
    try:
        run(parse_args([f"--log-dir={place}", *words]))  # otherwise torchrun leaves a directory behind
    except ChildFailedError as error:
        if is_debugging:
            traceback.print_exc()
            return _FAILED
        first = min((_Failure.of(rank, one, place) for rank, one in error.failures.items()), key=_Failure.order)
        code = first.exit_code if first.exit_code > 0 else _SIGNALLED - first.exit_code
        return _fail(first.describe(), code)
    except (DistError, RendezvousError) as error:
        if is_debugging:
            traceback.print_exc()
            return _FAILED
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return _fail(f"the rendezvous of the replicas failed: {lines[0]}", _FAILED)
    return 0


def _silence(package: str) -> None:
    """Suppress torchrun's messages about failed replicas, which `_fail` reports."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith(package) and isinstance(logger, logging.Logger):
            logger.setLevel(logging.CRITICAL)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _fail(reason: str, exit_code: int) -> int:
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in reason)
    print(f"__exp.status_msg__= {json.dumps(line)}", flush=True)
    print(f"error: {line}", file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(guarded(main))
