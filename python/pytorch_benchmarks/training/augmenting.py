"""Random augmentation of images in training: RandAugment, TrivialAugment, random erasing, and mixing of images. Works on batches, on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor

from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.devices import copied_to

_GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in brightness (ITU-R BT.601)
_STEPS = 30  # largest magnitude of RandAugment
_ERASED = (0.02, 1 / 3)  # share of an image's area
_RATIO = 0.3  # smallest aspect ratio of erased boxes; the largest is its inverse
_TRIES = 10
Operation = Callable[[Tensor, float, float, bool], Tensor]  # image in [0, 1], strength in [0, 1], sign, wide ranges


@dataclass
class Augmenting:
    """Augments each image of a batch independently.

    Args:
        transforms: Preprocessing of the images: their normalisation is undone during augmentation.
        policy: `randaugment`: two operations of one magnitude (Cubuk et al., arXiv:1909.13719); `trivialaugment`: one of any magnitude, in
            wider ranges (Müller and Hutter, arXiv:2103.10158); empty: none.
        magnitude: Magnitude of RandAugment, 0 to 30.
        erasing: Probability that a box of an image is set to the mean (Zhong et al., arXiv:1708.04896).
        seed: Random seed.
    """

    transforms: Transforms
    _: KW_ONLY
    policy: str = "none"
    magnitude: int = 9
    erasing: float = 0.0
    seed: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng((*self.seed, 1))  # independent of the numbers that mix images

    def __call__(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Inputs of the same shape, type and layout; targets unchanged."""
        inputs, labels = batch
        if self.policy == "none" and not self.erasing:
            return batch
        images = inputs.reshape(len(inputs), *self.transforms.shape).clone()
        if self.policy != "none":
            channels = images.shape[1]
            mean = copied_to(images.device, self.transforms.mean[:channels]).reshape(-1, 1, 1)
            deviation = copied_to(images.device, self.transforms.deviation[:channels]).reshape(-1, 1, 1)
            for number in range(len(images)):
                image = (images[number].float() * deviation + mean).clamp(0, 1)
                images[number] = (self._operated(image) - mean) / deviation
        for number in range(len(images)):
            if self._random.random() < self.erasing:
                self._erase(images[number])
        return images.reshape(inputs.shape), labels

    def _operated(self, image: Tensor) -> Tensor:
        trivial = self.policy == "trivialaugment"
        for _ in range(1 if trivial else 2):
            name = str(self._random.choice(list(OPERATIONS)))
            strength = float(self._random.random()) if trivial else self.magnitude / _STEPS
            sign = 1.0 if self._random.random() < 0.5 else -1.0
            image = OPERATIONS[name](image, strength, sign, trivial).clamp(0, 1)
        return image

    def _erase(self, image: Tensor) -> None:
        """Set a box to 0, the mean of normalised images."""
        height, width = image.shape[-2:]
        for _ in range(_TRIES):
            area = height * width * self._random.uniform(*_ERASED)
            ratio = math.exp(self._random.uniform(math.log(_RATIO), -math.log(_RATIO)))
            box_height, box_width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < box_height < height and 0 < box_width < width:
                top = int(self._random.integers(height - box_height + 1))
                left = int(self._random.integers(width - box_width + 1))
                image[:, top : top + box_height, left : left + box_width] = 0
                return


@dataclass
class Mixing:
    """Converts a batch of images and class numbers to one of mixed images and class probabilities.

    Args:
        num_classes: Classes of the model.
        label_smoothing: Share of a target that is spread evenly over all classes (Szegedy et al., arXiv:1512.00567, section 7).
        mixup_alpha: Mix pairs of images in the proportion Beta(α, α) (Zhang et al., arXiv:1710.09412); 0 disables it.
        cutmix_alpha: Paste a box of another image, of area 1 - Beta(α, α) (Yun et al., arXiv:1905.04899); 0 disables it. With
            both, one of them is chosen for each batch.
        seed: Random seed.
        shape: (channels, height, width) of the images, if the inputs are vectors.
    """

    num_classes: int
    _: KW_ONLY
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    seed: tuple[int, ...] = (0,)
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def __call__(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Inputs of the same shape; targets as class numbers, unchanged, or as probabilities, shape (batch, classes), float32."""
        inputs, labels = batch
        if not (self.label_smoothing or self.mixup_alpha or self.cutmix_alpha):
            return batch
        targets = torch.nn.functional.one_hot(labels, self.num_classes).float()
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes
        kinds = [name for name in ("mixup", "cutmix") if getattr(self, f"{name}_alpha")]
        if not kinds:
            return inputs, targets
        # Batches are already in random order: the adjacent image is as good a partner as any.
        if kinds[int(self._random.integers(len(kinds)))] == "mixup":
            share = float(self._random.beta(self.mixup_alpha, self.mixup_alpha))
            mixed = inputs * share + inputs.roll(1, 0) * (1 - share)
        else:
            mixed, share = self._cut(inputs)
        return mixed, targets * share + targets.roll(1, 0) * (1 - share)

    def _cut(self, inputs: Tensor) -> tuple[Tensor, float]:
        """Images with a pasted box of the adjacent image, and the share of their own area."""
        images = inputs.reshape(len(inputs), *self.shape) if self.shape else inputs
        height, width = images.shape[-2:]
        side = math.sqrt(1 - float(self._random.beta(self.cutmix_alpha, self.cutmix_alpha)))
        y, x = int(self._random.integers(height)), int(self._random.integers(width))
        half_height, half_width = int(height * side / 2), int(width * side / 2)
        rows = slice(max(0, y - half_height), min(height, y + half_height))
        columns = slice(max(0, x - half_width), min(width, x + half_width))
        mixed = images.clone()
        mixed[..., rows, columns] = images.roll(1, 0)[..., rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed.reshape(inputs.shape), 1 - area / (height * width)


def _moved(image: Tensor, matrix: list[list[float]]) -> Tensor:
    """Transform an image by an affine map of coordinates, in pixels from its centre; pixels beyond the border are black."""
    height, width = image.shape[-2:]
    (a, b, x), (c, d, y) = matrix
    theta = copied_to(image.device, [[a, b * height / width, 2 * x / width], [c * width / height, d, 2 * y / height]])
    grid = torch.nn.functional.affine_grid(theta[None], [1, *image.shape], align_corners=False)
    moved: Tensor = torch.nn.functional.grid_sample(image[None], grid, mode="nearest", align_corners=False)[0]
    return moved


def _shear_x(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    return _moved(image, [[1, sign * strength * (0.99 if wide else 0.3), 0], [0, 1, 0]])


def _shear_y(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    return _moved(image, [[1, 0, 0], [sign * strength * (0.99 if wide else 0.3), 1, 0]])


def _translate_x(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    most = 32.0 if wide else 150 / 331 * image.shape[-1]
    return _moved(image, [[1, 0, sign * strength * most], [0, 1, 0]])


def _translate_y(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    most = 32.0 if wide else 150 / 331 * image.shape[-2]
    return _moved(image, [[1, 0, 0], [0, 1, sign * strength * most]])


def _rotate(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    angle = math.radians(sign * strength * (135 if wide else 30))
    return _moved(image, [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])


def _blended(image: Tensor, other: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    """Interpolate between another image and this one, or extrapolate."""
    return other + (image - other) * (1 + sign * strength * (0.99 if wide else 0.9))


def _grey(image: Tensor) -> Tensor:
    if image.shape[0] != 3:
        return image.mean(0, keepdim=True)
    return (image * copied_to(image.device, _GREY).reshape(3, 1, 1)).sum(0, keepdim=True)


def _brightness(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    return _blended(image, torch.zeros_like(image), strength, sign, wide)


def _color(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    return _blended(image, _grey(image).expand_as(image), strength, sign, wide)


def _contrast(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    return _blended(image, _grey(image).mean().expand_as(image), strength, sign, wide)


def _sharpness(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    kernel = torch.ones(image.shape[0], 1, 3, 3, device=image.device)
    kernel[:, :, 1, 1] = 5
    smooth = image.clone()
    smooth[:, 1:-1, 1:-1] = torch.nn.functional.conv2d(image[None], kernel / 13, groups=image.shape[0])[0]
    return _blended(image, smooth, strength, sign, wide)


def _posterize(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    lost = 2 ** round(strength * (6 if wide else 4))
    return (image * 255).round().div(lost).floor() * lost / 255


def _solarize(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    return torch.where(image >= 1 - strength, 1 - image, image)


def _autocontrast(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    return torch.where(high > low, (image - low) / (high - low).clamp_min(1 / 255), image)


def _equalize(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    levels = (image * 255).round().long().flatten(1)
    counts = torch.zeros(len(levels), 256, dtype=torch.int64, device=image.device)
    total = counts.scatter_add_(1, levels, torch.ones_like(levels)).cumsum(1).float()
    first = total.gather(1, levels.amin(1, keepdim=True))
    span = total[:, -1:] - first
    made = torch.where(span > 0, ((total - first) / span).gather(1, levels), levels / 255)
    return made.reshape(image.shape)


def _identity(image: Tensor, strength: float, sign: float, wide: bool) -> Tensor:
    return image


OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
