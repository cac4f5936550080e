"""Crops (boxes, resizing, mirroring) and the order of reading."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark_core.exits import UsageError
from pytorch_benchmarks.data.dataset import Box, Crop, Order, place
from pytorch_benchmarks.data.make_dataset import picture


@pytest.mark.parametrize("kind", ["random_resized", "random_crop_mirror", "center"])
@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (256, 256), (20, 2000), (1, 1), (100, 90)])
def test_boxes_lie_inside(kind: str, height: int, width: int) -> None:
    for seed in range(50):
        box = Crop(kind).box(height, width, (224, 224), Random(seed).random)
        assert 0 <= box.top <= box.top + box.height <= height
        assert 0 <= box.left <= box.left + box.width <= width
        assert box.height >= 1
        assert box.width >= 1


def test_random_resized_crops_cover_the_areas_and_ratios_of_the_paper() -> None:
    boxes = [Crop("random_resized").box(1000, 1000, (224, 224), Random(seed).random) for seed in range(2000)]
    areas = [box.height * box.width / 1e6 for box in boxes]
    ratios = [box.width / box.height for box in boxes]
    assert 0.07 < min(areas) < 0.12
    assert 0.9 < max(areas) <= 1.0
    assert 0.74 < min(ratios) < 0.78
    assert 1.28 < max(ratios) < 1.35
    assert 0.45 < sum(box.mirror for box in boxes) / 2000 < 0.55


def test_the_centre_is_the_centre() -> None:
    assert Crop("center").box(256, 256, (224, 224), Random().random) == Box(16, 16, 224, 224, False)
    assert Crop("center").box(512, 1024, (224, 224), Random().random) == Box(32, 288, 448, 448, False)


@pytest.mark.parametrize("mirror", [False, True])
def test_placing_without_resizing_copies_pixels(mirror: bool) -> None:
    image = torch.arange(3 * 6 * 8, dtype=torch.uint8).reshape(3, 6, 8)
    target = torch.zeros(3, 4, 5, dtype=torch.uint8)
    place(image.numpy(), Box(1, 2, 4, 5, mirror), target)
    part = image[:, 1:5, 2:7]
    assert torch.equal(target, part.flip(-1) if mirror else part)


def test_resizing_agrees_with_pillow() -> None:
    pixels = picture(3, 3, 375, 500)
    target = torch.empty(3, 224, 224, dtype=torch.uint8)
    place(pixels.transpose(2, 0, 1), Box(10, 20, 300, 400, False), target)
    expected = Image.fromarray(pixels).crop((20, 10, 420, 310)).resize((224, 224), Image.Resampling.BILINEAR)
    difference = np.abs(target.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= 2


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_image_is_read_once_in_an_epoch_by_one_process(shuffle: bool, world: int) -> None:
    orders = [Order(72, 4, shuffle, 7, rank, world) for rank in range(world)]
    for epoch in (0, 1, 5):
        seen = np.concatenate([order.epoch(epoch).ravel() for order in orders])
        assert len(set(seen.tolist())) == len(seen) == 72


def test_shuffling_is_seeded_and_new_in_each_epoch() -> None:
    one, same, other = Order(50, 5, True, 1), Order(50, 5, True, 1), Order(50, 5, True, 2)
    assert np.array_equal(one.epoch(3), same.epoch(3))
    assert not np.array_equal(one.epoch(3), one.epoch(4))
    assert not np.array_equal(one.epoch(3), other.epoch(3))


def test_a_seed_may_be_negative() -> None:
    order = Order(50, 5, True, -3)
    assert sorted(order.epoch(0).ravel().tolist()) == list(range(50))
    assert len(order.draws(0)) == 5


def test_what_does_not_fill_a_batch_is_left_out() -> None:
    assert Order(10, 4).epoch(0).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(("length", "batch", "world"), [(3, 4, 1), (7, 4, 2)])
def test_fewer_images_than_a_batch(length: int, batch: int, world: int) -> None:
    with pytest.raises(UsageError, match="fewer than a batch"):
        Order(length, batch, world=world)


# Loaders
def test_an_order_that_begins_later_goes_on_as_the_whole_one() -> None:
    whole, later = Order(10, 3, True, 5), Order(10, 3, True, 5, first_epoch=2)
    batches, rest = whole.batches(), later.batches()
    for _ in range(2 * whole.batches_per_epoch):
        next(batches)
    assert [next(batches) for _ in range(5)] == [next(rest) for _ in range(5)]
    assert whole.draws(2 * whole.batches_per_epoch + 1) == later.draws(1)
