"""RandAugment, TrivialAugment, random erasing, mixing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.training.augmenting import OPERATIONS, Augmenting, Mixing

TRANSFORMS = Transforms((3, 16, 24))


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 16, 24, generator=generator), torch.arange(count)


def test_nothing_changes_unless_it_is_asked_for() -> None:
    batch = images()
    assert Augmenting(TRANSFORMS)(batch) is batch


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_images_change_by_chance_and_stay_images(policy: str) -> None:
    inputs, labels = images(32)
    made, same = Augmenting(TRANSFORMS, policy=policy, seed=(3,))((inputs, labels))
    again, _ = Augmenting(TRANSFORMS, policy=policy, seed=(3,))((inputs, labels))
    other, _ = Augmenting(TRANSFORMS, policy=policy, seed=(4,))((inputs, labels))
    assert torch.equal(made, again)
    assert not torch.equal(made, other)
    assert same is labels
    assert made.shape == inputs.shape
    assert torch.equal(inputs, images(32)[0])  # what came in is as it was
    mean, deviation = (torch.tensor(values).reshape(-1, 1, 1) for values in (TRANSFORMS.mean, TRANSFORMS.deviation))
    pixels = made * deviation + mean
    assert pixels.min() >= -1e-5
    assert pixels.max() <= 1 + 1e-5


def test_a_larger_magnitude_changes_more() -> None:
    smooth = torch.linspace(-1, 1, 24).expand(64, 3, 16, 24).contiguous()
    changes = []
    for magnitude in (0, 5, 30):
        made, _ = Augmenting(TRANSFORMS, policy="randaugment", magnitude=magnitude)((smooth, torch.zeros(64)))
        changes.append(float((made - smooth).abs().mean()))
    assert changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("erasing", [0.0, 1.0])
def test_a_box_of_the_mean_is_erased(erasing: float) -> None:
    inputs = torch.ones(64, 3, 16, 24)
    made, _ = Augmenting(TRANSFORMS, erasing=erasing)((inputs, torch.zeros(64)))
    for image in made:
        erased = image == 0
        share = float(erased.float().mean())
        assert (0.005 < share < 0.5) if erasing else share == 0
        rows, columns = erased[0].any(1).sum(), erased[0].any(0).sum()
        assert rows * columns == erased[0].sum()  # one box, in all channels
        assert torch.equal(erased[0], erased[2])


def test_vectors_are_images_meanwhile() -> None:
    flat, labels = images()[0].flatten(1), torch.zeros(4)
    made, _ = Augmenting(TRANSFORMS, policy="trivialaugment", erasing=1.0, seed=(1,))((flat, labels))
    assert made.shape == flat.shape


RAMP = torch.arange(8.0).div(10).expand(3, 8, 8).contiguous()  # each column one value


@pytest.mark.parametrize(
    ("name", "strength", "sign", "expected"),
    [
        ("identity", 1.0, 1.0, RAMP),
        ("brightness", 0.0, 1.0, RAMP),
        ("brightness", 1.0, -1.0, RAMP * 0.1),
        ("color", 1.0, 1.0, RAMP),  # grey has no colour
        ("contrast", 1.0, -1.0, 0.35 + (RAMP - 0.35) * 0.1),
        ("solarize", 0.5, 1.0, torch.where(RAMP >= 0.5, 1 - RAMP, RAMP)),
        ("autocontrast", 0.0, 1.0, RAMP / 0.7),
        ("equalize", 0.0, 1.0, RAMP / 0.7),
        ("posterize", 0.0, 1.0, (RAMP * 255).round() / 255),
        ("posterize", 1.0, 1.0, (RAMP * 255).round().div(16).floor() * 16 / 255),
        ("translate_x", 2 / (150 / 331 * 8), -1.0, torch.cat([torch.zeros(3, 8, 2), RAMP[..., :6]], -1)),
        ("translate_y", 2 / (150 / 331 * 8), 1.0, torch.cat([RAMP[:, :6], torch.zeros(3, 2, 8)], 1)),
        ("rotate", 0.0, 1.0, RAMP),
        ("shear_x", 0.0, 1.0, RAMP),
        ("shear_y", 0.0, 1.0, RAMP),
        ("sharpness", 1.0, 1.0, RAMP),  # a ramp is as smooth as it can be
    ],
)
def test_operations(name: str, strength: float, sign: float, expected: Tensor) -> None:
    torch.testing.assert_close(OPERATIONS[name](RAMP, strength, sign, False), expected, atol=1e-5, rtol=0)


def test_a_quarter_turn() -> None:
    made = OPERATIONS["rotate"](RAMP, 90 / 135, 1.0, True)
    assert any(torch.allclose(made, RAMP.rot90(turns, (1, 2)), atol=1e-5) for turns in (1, 3))


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
