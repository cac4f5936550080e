"""What an image goes through before the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark_core.exits import BenchmarkError
from pytorch_benchmarks.data.images import ImageFolder
from pytorch_benchmarks.data.source import once
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.devices import World

TRANSFORMS = Transforms((1, 28, 28), flat=True, crop_pct=1.0)


def test_transforms_do_to_one_picture_what_loaders_do_to_all(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for kind, (height, width) in enumerate([(40, 60), (33, 20), (28, 28)]):
        (tmp_path / str(kind)).mkdir()
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(tmp_path / str(kind) / "p.png")
    dataset = ImageFolder(tmp_path)
    for transforms in (
        Transforms((3, 24, 32)),
        TRANSFORMS,
        Transforms((3, 16, 16), mean=(0.5, 0.5, 0.5), crop_pct=0.5),
    ):
        normalise = transforms.normalise(torch.float32, torch.device("cpu"))
        batches = once(dataset, 1, transforms.crop(), transforms.shape, normalise, workers=1, world=World())
        for (inputs, _), (path, _) in zip(batches, dataset.images, strict=True):
            assert torch.equal(inputs[0], transforms(path))
            assert torch.equal(inputs[0], transforms(np.asarray(Image.open(path))))
        assert Transforms.of(json.loads(json.dumps(transforms.document()))) == transforms


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"cannot read the image .*no\.jpg"):
        TRANSFORMS(tmp_path / "no.jpg")
