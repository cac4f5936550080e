"""Memory that processes share is page-locked on a GPU (tests/gpu/test_data.py), and used as it is elsewhere."""

from __future__ import annotations

import pytest
import torch

from pytorch_benchmarks.data.page_lock import page_locked


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_page_locked() -> None:
    shared = torch.arange(8).share_memory_()
    with page_locked(shared) as locked:
        assert not locked
        assert shared.tolist() == list(range(8))
