"""AlexNet in the two forms that benchmarks use."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.layers import perceptron
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.registry import register_model

__all__ = ["AlexNet", "AlexNetOwt"]


def _classifier(num_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *perceptron([256 * 6 * 6, 4096, 4096, num_classes], dropout=0.5))


@register_model("alexnet")
class AlexNet(Model):
    """AlexNet in one tower, with local response normalisation (Krizhevsky et al., NIPS 2012)."""

    title = "AlexNet"
    input_shape = (3, 227, 227)

    def __init__(self, *, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=11, stride=4),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(96, 256, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(256, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.classifier = _classifier(self.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


@register_model("alexnet_owt")
class AlexNetOwt(Model):
    """AlexNet as in "One weird trick", without normalisation (Krizhevsky, arXiv:1404.5997)."""

    title = "AlexNetOWT"
    input_shape = (3, 227, 227)

    def __init__(self, *, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.classifier = _classifier(self.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
