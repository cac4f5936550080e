"""RandAugment, TrivialAugment, random erasing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.training.augmenting import OPERATIONS, Augmenting

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
