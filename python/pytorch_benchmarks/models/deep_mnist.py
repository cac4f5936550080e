"""Deep MNIST: a multilayer perceptron for handwritten digits."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, perceptron
from pytorch_benchmarks.models.model import Model, register_model

__all__ = ["DeepMnist"]


@register_model("deep_mnist")
class DeepMnist(Model):
    """Deep MNIST, six fully connected layers (Cireşan et al., Neural Computation 22(12), 2010)."""

    title = "DeepMNIST"
    input_shape = (784,)
    num_classes = 10

    def __init__(self, *, num_classes: int = 10, activation: Activation = ACTIVATIONS["relu"]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.model = nn.Sequential(*perceptron([784, 2500, 2000, 1500, 1000, 500, num_classes], activation=activation))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
