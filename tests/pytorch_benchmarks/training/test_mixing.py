"""Label smoothing, mixup and CutMix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pytorch_benchmarks.training.mixing import Mixing


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Pictures whose pixels are all their number."""
    return torch.arange(count).float().view(count, 1, 1, 1).expand(count, 3, 8, 8).contiguous(), torch.arange(count)


def test_targets_stay_class_numbers_unless_something_is_asked_for() -> None:
    inputs, targets = pictures(4)
    made = Mixing(4)((inputs, targets))
    assert made[0] is inputs
    assert made[1] is targets


def test_label_smoothing_gives_every_class_its_share() -> None:
    _, targets = Mixing(4, label_smoothing=0.2)(pictures(4))
    assert torch.allclose(targets[1], torch.tensor([0.05, 0.85, 0.05, 0.05]))


@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
@pytest.mark.parametrize("flat", [False, True])
def test_mixed_targets_say_how_much_of_each_picture_there_is(kind: str, flat: bool) -> None:
    for seed in range(20):
        images, targets = pictures(4)
        inputs = images.flatten(1) if flat else images
        mixing = Mixing(4, **{kind: 1.0}, seed=(seed,), shape=(3, 8, 8))  # type: ignore[arg-type]
        mixed, soft = mixing((inputs, targets))
        assert mixed.shape == inputs.shape
        assert torch.allclose(soft.sum(dim=1), torch.ones(4))
        # A pixel of picture 1 is 1 or comes from picture 0: its mean is the share that it kept.
        assert float(mixed[1].mean()) == pytest.approx(float(soft[1, 1]), abs=1e-5)
        assert torch.equal(images, pictures(4)[0])  # loaders use their memory again


def test_the_same_seed_mixes_the_same() -> None:
    options = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}
    one, two, other = (Mixing(4, **options, seed=(seed, 1)) for seed in (1, 1, 2))  # type: ignore[arg-type]
    first, second, third = ([mixing(pictures(4))[1] for _ in range(5)] for mixing in (one, two, other))
    assert all(map(torch.equal, first, second))
    assert not all(map(torch.equal, first, third))
