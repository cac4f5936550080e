"""A nohup executor for the worst moment of a restart: experiments of the earlier run end after it has listed them."""

from __future__ import annotations

import time
from collections.abc import Set
from pathlib import Path

from tests.executors.nohup_executor import NohupExecutor


class LateNohupExecutor(NohupExecutor):
    """Creates the file `go`, for which the experiments wait, and returns the logs of those that ran before they ended."""

    def owned_logs(self, directory: Path) -> Set[Path]:
        found = super().owned_logs(directory)
        if found:
            (self.directory / "go").touch()
        while super().owned_logs(directory):
            time.sleep(0.05)
        return found
