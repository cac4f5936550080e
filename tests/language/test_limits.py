"""The backstop behind the meter: what no operation pays for ends too."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from dlbs.language import limits
from dlbs.language.limits import BUDGET, METER, BackstopError


def timer() -> tuple[float, float]:
    return signal.getitimer(signal.ITIMER_VIRTUAL)


def forever() -> None:
    with METER:
        while True:
            pass


def grow(made: list[bytes]) -> None:
    with METER:
        while True:
            made.append(b"x" * (1 << 20))
            sum(range(20_000))  # CPU time, so that the timer ticks


@pytest.mark.integration
def test_a_value_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.MAX_SECONDS == 5
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.2)
    with pytest.raises(BackstopError, match="0 s of CPU time"):
        forever()
    assert timer() == (0.0, 0.0)


@pytest.mark.integration
def test_a_value_that_takes_too_much_memory_ends() -> None:
    made: list[bytes] = []
    with pytest.raises(BackstopError, match="512 MiB"):
        grow(made)
    assert len(made) < 4_000


def test_the_timer_runs_while_a_value_is_computed_only() -> None:
    assert timer() == (0.0, 0.0)
    with METER:
        assert timer() != (0.0, 0.0)
    assert timer() == (0.0, 0.0)


def test_other_threads_have_the_meter_alone() -> None:
    seen = []

    def work() -> None:
        with METER:
            seen.append(timer())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(0.0, 0.0)]


def test_each_value_of_a_function_has_its_own_backstop(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "thread_time", lambda: now)
    with METER:
        for _ in range(3):
            METER.reset()
            METER._look(signal.SIGVTALRM, None)
            now += 4
            METER._look(signal.SIGVTALRM, None)
        now += 4
        with pytest.raises(BackstopError):
            METER._look(signal.SIGVTALRM, None)


def test_a_thread_waits_until_another_has_computed_its_value() -> None:
    entered = threading.Event()

    def work() -> None:
        with METER:
            METER.charge(1_000)
            entered.set()

    thread = threading.Thread(target=work)
    with METER:
        thread.start()
        METER.charge(1)
        assert not entered.wait(0.05)
        assert METER.left == BUDGET - 1
    thread.join(10)
    assert entered.is_set()
