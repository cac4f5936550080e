"""Deep MNIST: a multilayer perceptron for handwritten digits."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.model import Model

__all__ = ["DeepMnist"]


@register_model("deep_mnist")
class DeepMnist(Model):
    """Deep MNIST, six fully connected layers (Cireşan et al., Neural Computation 22(12), 2010)."""

    title = "DeepMNIST"
    input_shape = (784,)
    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        sizes = [784, 2500, 2000, 1500, 1000, 500]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.model = nn.Sequential(*layers, nn.Linear(sizes[-1], self.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
