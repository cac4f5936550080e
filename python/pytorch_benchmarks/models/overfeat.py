"""OverFeat, the fast model (Sermanet et al., arXiv:1312.6229, table 1)."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.layers import perceptron
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.registry import register_model

__all__ = ["OverFeat"]


@register_model("overfeat")
class OverFeat(Model):
    """OverFeat, fast model (Sermanet et al., arXiv:1312.6229)."""

    title = "Overfeat"
    input_shape = (3, 231, 231)

    def __init__(self, *, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=11, stride=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=2, stride=2),
            nn.Conv2d(96, 256, kernel_size=5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=2, stride=2),
            nn.Conv2d(256, 512, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 1024, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=2, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), *perceptron([1024 * 6 * 6, 3072, 4096, self.num_classes], dropout=0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
