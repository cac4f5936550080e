"""VGG (Simonyan and Zisserman, arXiv:1409.1556, table 1: configurations A, B, D and E)."""

from __future__ import annotations

from typing import Any

from torch import nn

from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, perceptron, plain_convolution
from pytorch_benchmarks.models.model import ImageClassifier, register_model

__all__ = ["VGG", "vgg11", "vgg13", "vgg16", "vgg19"]


class VGG(ImageClassifier):
    """3×3 convolutions in five blocks, each followed by pooling; then three fully connected layers.

    Args:
        depth: Number of layers with weights, for the title.
        convolutions: Number of convolutions in each block.
        num_classes: Of the classifier.
        dropout: Probability that a feature of the first two fully connected layers is dropped in training.
        activation: Constructor of the nonlinearities.
    """

    input_shape = (3, 224, 224)

    def __init__(
        self,
        depth: int,
        convolutions: tuple[int, int, int, int, int],
        *,
        num_classes: int = 1000,
        dropout: float = 0.5,
        activation: Activation = ACTIVATIONS["relu"],
    ) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for count, width in zip(convolutions, (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                layers += plain_convolution(channels, width, 3, padding=1, activation=activation)
                channels = width
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        classifier = nn.Sequential(
            nn.Flatten(), *perceptron([512 * 7 * 7, 4096, 4096, num_classes], dropout=dropout, activation=activation)
        )
        super().__init__(nn.Sequential(*layers), classifier, num_classes)
        self.title = f"VGG{depth}"


@register_model("vgg11")
def vgg11(**options: Any) -> VGG:
    """VGG with 11 layers (configuration A)."""
    return VGG(11, (1, 1, 2, 2, 2), **options)


@register_model("vgg13")
def vgg13(**options: Any) -> VGG:
    """VGG with 13 layers (configuration B)."""
    return VGG(13, (2, 2, 2, 2, 2), **options)


@register_model("vgg16")
def vgg16(**options: Any) -> VGG:
    """VGG with 16 layers (configuration D)."""
    return VGG(16, (2, 2, 3, 3, 3), **options)


@register_model("vgg19")
def vgg19(**options: Any) -> VGG:
    """VGG with 19 layers (configuration E)."""
    return VGG(19, (2, 2, 4, 4, 4), **options)
