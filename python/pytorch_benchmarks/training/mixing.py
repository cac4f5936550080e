"""Soft targets and mixed images: label smoothing, mixup, cutmix."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["Mixing"]


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

    def __init__(
        self,
        num_classes: int,
        *,
        label_smoothing: float = 0.0,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        seed: tuple[int, ...] = (0,),
        shape: tuple[int, ...] = (),
    ) -> None:
        self.num_classes, self.label_smoothing, self.shape = num_classes, label_smoothing, shape
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha
        self._random = np.random.default_rng(seed)

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
