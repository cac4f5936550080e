"""NAME: a small residual model (after He et al., arXiv:1512.03385). Describe your model here, and cite its publication."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.layers import ACTIVATIONS, NORMS, Activation, Norm, convolution
from pytorch_benchmarks.models.model import Model

__all__ = ["NAME"]


class Block(nn.Module):
    """A residual block: activation(x + two convolutions of x)."""

    def __init__(self, width: int, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *convolution(width, width, 3, norm=norm, activation=activation), *convolution(width, width, 3, norm=norm)
        )
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.layers(x))


@register_model("NAME")
class NAME(Model):
    """A small residual model for images of 32 × 32.

    Args:
        width: Number of channels.
        depth: Number of blocks.
        num_classes: Number of classes.
        norm, activation: Constructors of these layers, or their names on the command line.
    """

    title = "NAME"
    input_shape = (3, 32, 32)

    def __init__(
        self,
        *,
        width: int = 32,
        depth: int = 3,
        num_classes: int = 10,
        norm: Norm = NORMS["batch"],
        activation: Activation = ACTIVATIONS["relu"],
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            *convolution(3, width, 3, stride=2, norm=norm, activation=activation),
            *(Block(width, norm, activation) for _ in range(depth)),
        )
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
