"""Killing `dlbs run` at moments that are spread over what it does, however fast the machine is."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

from tests.forked import Program
from tests.waiting import wait_until

__all__ = ["kill_at_a_random_moment"]


def kill_at_a_random_moment(run: Program | subprocess.Popen[str], logs: Path, chance: random.Random) -> bool:
    """Kill a run while it starts, or when some more files have come into its directory of logs; return whether it was still running."""
    more = chance.choice((0, 0, 1, 2, 3, 5))
    before = _names(logs)
    wait_until(lambda: run.poll() is not None or len(_names(logs) - before) >= more)
    time.sleep(chance.uniform(0, 0.05 if more else 0.4))
    running = run.poll() is None
    run.kill()
    run.communicate()
    return running


def _names(logs: Path) -> set[str]:
    return set(os.listdir(logs)) if logs.is_dir() else set()
