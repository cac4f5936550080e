"""Waiting without polling."""

from __future__ import annotations

import os
import signal

import pytest

from dlbs.executors.signals import Signals


@pytest.mark.parametrize("seconds", [1e10, 1e300, float("inf"), None])
def test_a_wait_of_any_length_ends_with_a_signal(seconds: float | None) -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        signals.wait(seconds)
        assert signals.stop_after_current
