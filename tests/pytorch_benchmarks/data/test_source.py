"""The source of batches: where the loaders put them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytorch_benchmarks.data import source
from pytorch_benchmarks.data.transforms import DEVIATION, MEAN, Normalise


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize(("device", "is_pinned"), [("cuda:1", True), ("xpu", True), ("mps", False), ("cpu", False)])
def test_memory_is_page_locked_where_a_device_copies_from_it(
    monkeypatch: pytest.MonkeyPatch, kind: str, device: str, is_pinned: bool
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(source, kind, lambda *_, **options: asked.append(options) or iter(()))
    normalise: Any = SimpleNamespace(device=torch.device(device))
    nothing: Any = None
    source.loaded(nothing, nothing, nothing, (), normalise, workers=2, kind=kind)
    assert asked[0].get("pinned", False) == is_pinned


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalising(dtype: torch.dtype, channels: int) -> None:
    normalise = Normalise(dtype, False, 10, channels, torch.device("cpu"))
    images = torch.randint(256, (2, channels, 4, 4), dtype=torch.uint8)
    made, targets = normalise(images, torch.tensor([3, 12]))
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    if channels == 1:
        mean, deviation = mean.mean()[None], deviation.mean()[None]
    expected = (images / 255 - mean.view(1, -1, 1, 1)) / deviation.view(1, -1, 1, 1)
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert torch.allclose(made.float(), expected, atol=1e-5 if dtype == torch.float32 else 0.02)
    assert targets.tolist() == [3, 2]


def test_inputs_may_have_their_channels_last() -> None:
    normalise = Normalise(torch.float32, False, 10, 3, torch.device("cpu"), torch.channels_last)
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    made, _ = normalise(images, torch.zeros(2))
    expected, _ = Normalise(torch.float32, False, 10, 3, torch.device("cpu"))(images, torch.zeros(2))
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(made, expected)


def test_normalising_for_models_that_want_vectors() -> None:
    made, _ = Normalise(torch.float32, True, 10, 1, torch.device("cpu"))(
        torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2)
    )
    assert made.shape == (2, 16)
