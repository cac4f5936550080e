"""Memory figures against the statistics of PyTorch's allocator."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from pytorch_benchmarks.devices import synchronizer
from pytorch_benchmarks.phases import graphed, inference_step, training_step
from pytorch_benchmarks.results import peak_memory
from tests.gpu.work import small_model

pytestmark = pytest.mark.alone

SIZE = 64 << 20


def test_the_peak_is_the_memory_that_was_taken_meanwhile(cuda: torch.device) -> None:
    def step(_: Any) -> None:
        torch.empty(SIZE, dtype=torch.uint8, device=cuda)  # and given back at once

    before = torch.cuda.memory_allocated(cuda)
    found = peak_memory(step, itertools.repeat(None), cuda, synchronizer(cuda))
    assert found["memory_device_allocated"] == before + SIZE
    assert torch.cuda.memory_allocated(cuda) == before


def test_figures_are_those_of_the_allocator(cuda: torch.device, figures: dict[str, Any]) -> None:
    model, batches = small_model("resnet18", cuda, batch=8)
    step = training_step(model, model)
    step(next(batches))
    found = peak_memory(step, batches, cuda, synchronizer(cuda))
    statistics = torch.cuda.memory_stats(cuda)
    assert found["memory_device_allocated"] == statistics["allocated_bytes.all.peak"]
    assert found["memory_device_reserved"] == statistics["reserved_bytes.all.peak"]
    weights = sum(one.numel() * one.element_size() for one in model.parameters())
    assert found["memory_device_allocated"] > 3 * weights  # weights, gradients, momentum, and what the layers keep
    figures.update({"allocated MB": statistics["allocated_bytes.all.peak"] / 1e6, "weights MB": weights / 1e6})


def test_a_larger_batch_needs_more(cuda: torch.device) -> None:
    found = []
    for batch in (2, 8):
        model, batches = small_model("resnet18", cuda, batch=batch)
        step = inference_step(model)
        step(next(batches))
        found.append(peak_memory(step, batches, cuda, synchronizer(cuda))["memory_device_allocated"])
        del model, batches, step
    assert found[1] > found[0]  # type: ignore[operator]


def test_memory_of_an_earlier_peak_does_not_count(cuda: torch.device) -> None:
    held = torch.empty(4 * SIZE, dtype=torch.uint8, device=cuda)
    del held

    def step(_: Any) -> None:
        torch.empty(SIZE, dtype=torch.uint8, device=cuda)

    before = torch.cuda.memory_allocated(cuda)
    found = peak_memory(step, itertools.repeat(None), cuda, synchronizer(cuda))
    assert found["memory_device_allocated"] == before + SIZE
    assert found["memory_device_reserved"] >= 4 * SIZE  # the allocator still holds it


def test_the_memory_of_a_graph_is_reserved(cuda: torch.device, figures: dict[str, Any]) -> None:
    """A graph's tensors lie in a pool of its own, which the allocator counts as reserved, and not as allocated when it is replayed."""
    model, batches = small_model("resnet18", cuda, batch=8)
    eager = inference_step(model)
    eager(next(batches))
    plain = peak_memory(eager, batches, cuda, synchronizer(cuda))
    step = graphed(eager, cuda)
    step(next(batches))
    found = peak_memory(step, batches, cuda, synchronizer(cuda))
    figures.update({f"{name} MB": (size or 0) / 1e6 for name, size in found.items()})
    assert found["memory_device_reserved"] >= plain["memory_device_allocated"]  # type: ignore[operator]


def test_a_host_has_no_device_memory(device: torch.device) -> None:
    found = peak_memory(lambda _: None, itertools.repeat(None), device, synchronizer(device))
    assert found["memory_host"]
    assert (found["memory_device_allocated"] is None) == (device.type == "cpu")
