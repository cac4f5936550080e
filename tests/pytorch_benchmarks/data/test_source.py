"""The source of batches: where the loaders put them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytorch_benchmarks.data import source


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
