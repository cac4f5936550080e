"""What a task of a Slurm array runs on its node: one experiment, the way it runs on any machine.

python -m dlbs.executors.slurm_task FILE      with SLURM_ARRAY_TASK_ID in the environment
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dlbs.errors import DlbsError
from dlbs.executors.job import write_log
from dlbs.executors.local import LocalExecutor
from dlbs.executors.signals import Signals
from dlbs.executors.slurm import load_task, time_limit
from dlbs.launch.script import make_launcher
from dlbs.text import text

_BEFORE_THE_LIMIT = (
    15.0  # seconds: our own timeout comes first, since Slurm's may come minutes late and says nothing in the log
)


def main() -> int:
    entry = load_task(sys.argv[1], int(os.environ["SLURM_ARRAY_TASK_ID"]))
    experiment, log = dict(entry["experiment"]), Path(entry["log"])
    directory = Path.cwd()
    try:
        limit = time_limit(text(experiment.get("slurm.time")))
        if limit:
            own = float(experiment.get("exp.timeout") or 0)
            ours = max(1.0, limit - _BEFORE_THE_LIMIT)
            experiment["exp.timeout"] = min(own, ours) if own else ours
        with Signals() as signals:
            executor = LocalExecutor(signals, lambda one: make_launcher(one, directory))
            if not executor.start(experiment):
                raise DlbsError("the node has not what the experiment asks for")
            while executor.running:
                for _, outcome in executor.wait():
                    return 0 if outcome.status in {"ok", "skipped"} else 1
    except DlbsError as error:
        print(f"error: {error}", flush=True)
        write_log(log, experiment, "failure", str(error))
    return 1


if __name__ == "__main__":
    sys.exit(main())
