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

import glob
import json
import logging
import signal
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark_core.crash import guarded
from benchmark_core.log import key_line
from benchmark_core.program import REASONS, reason_file
from benchmark_core.text import printable

_LONGEST = 1 << 20  # bytes of a reason
_FAILED, _SIGNALLED = 1, 128  # exit codes
_ABORTED, _LOST, _ENDED = (
    1,
    2,
    3,
)  # a failure that another process may have caused ranks after one of the replica itself
_HINTS: dict[int, str] = {
    signal.SIGABRT: ": its own messages, in the output, say why; NCCL does this when another replica has ended or does not answer",
    signal.SIGKILL: ": the system may have run out of memory",
}


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
        left = cls.left(rank, reason_file(place, str(failure.local_rank)))
        return left or cls(rank, "", failure.exitcode, failure.timestamp, False)

    @classmethod
    def left(cls, rank: int, file: str) -> _Failure | None:
        """From the reason that a replica left; None if there is none."""
        try:
            with open(file, encoding="utf-8") as stream:
                left = json.loads(stream.read(_LONGEST))
            return cls(rank, str(left["reason"]), int(left["exit_code"]), float(left["time"]), bool(left["is_lost"]))
        except (OSError, LookupError, OverflowError, RecursionError, TypeError, ValueError):
            return None

    def order(self) -> tuple[int, float]:
        """Sort key: the first failure is the cause of the others."""
        if self.exit_code == -signal.SIGTERM:  # from torchrun
            return _ENDED, self.time
        if self.is_lost:
            return _LOST, self.time
        # NCCL's watchdog aborts a replica when another one is gone; torchrun rounds the time of such an end down to seconds.
        return _ABORTED if self.exit_code == -signal.SIGABRT else 0, self.time

    def describe(self) -> str:
        if self.reason:
            return self.reason
        if self.exit_code >= 0:
            return f"replica {self.rank} ended with exit code {self.exit_code} and gave no reason"
        hint = _HINTS.get(-self.exit_code, "")
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
        first = min(_failures(error.failures, place), key=_Failure.order)
        code = first.exit_code if first.exit_code > 0 else _SIGNALLED - first.exit_code
        return _fail(first.describe(), code)
    except (DistError, RendezvousError) as error:
        if is_debugging:
            traceback.print_exc()
            return _FAILED
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return _fail(f"the rendezvous of the replicas failed: {lines[0]}", _FAILED)
    return 0


def _failures(found: Mapping[int, Any], place: str) -> list[_Failure]:
    """The failures that torchrun found, by rank, and those of replicas that it ended itself, which PyTorch 2.8 does not report."""
    reported = {reason_file(place, str(one.local_rank)) for one in found.values()}
    left = glob.glob(reason_file(glob.escape(place), "*"))
    others = [_Failure.left(-1, file) for file in left if file not in reported]
    return [_Failure.of(rank, one, place) for rank, one in found.items()] + [one for one in others if one is not None]


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
    line = printable(" ".join(reason.split()))
    print(key_line("exp.status_msg", line), flush=True)
    print(f"error: {line}", file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(guarded(main))
