"""Settings of the interpreter while queries are answered."""

from __future__ import annotations

import gc
import sys

import pytest

from pytorch_benchmarks.serving.interpreter import undisturbed


def test_no_garbage_is_collected_while_queries_are_answered_and_threads_switch_quickly() -> None:
    """A collection stops all threads, and is seen in the tail of the latencies."""
    before = sys.getswitchinterval()
    assert gc.isenabled()
    with undisturbed():
        assert not gc.isenabled()
        assert sys.getswitchinterval() < before
    assert gc.isenabled()
    assert sys.getswitchinterval() == pytest.approx(before)
