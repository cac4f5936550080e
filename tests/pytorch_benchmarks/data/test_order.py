"""Which image comes when."""

from __future__ import annotations

import numpy as np
import pytest

from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.errors import UsageError


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
