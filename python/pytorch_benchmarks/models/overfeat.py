"""The fast model of OverFeat (Sermanet et al., arXiv:1312.6229, table 1)."""

from __future__ import annotations

from torch import nn

from pytorch_benchmarks.models.layers import perceptron, plain_convolution
from pytorch_benchmarks.models.model import ImageClassifier, register_model

__all__ = ["OverFeat"]


@register_model("overfeat")
class OverFeat(ImageClassifier):
    """OverFeat, fast model (Sermanet et al., arXiv:1312.6229)."""

    title = "Overfeat"
    input_shape = (3, 231, 231)

    def __init__(self, *, num_classes: int = 1000) -> None:
        features = nn.Sequential(
            *plain_convolution(3, 96, 11, stride=4),
            nn.MaxPool2d(kernel_size=2, stride=2),
            *plain_convolution(96, 256, 5),
            nn.MaxPool2d(kernel_size=2, stride=2),
            *plain_convolution(256, 512, 3, padding=1),
            *plain_convolution(512, 1024, 3, padding=1),
            *plain_convolution(1024, 1024, 3, padding=1),
            nn.MaxPool2d(kernel_size=2, stride=2),
        )
        classifier = nn.Sequential(nn.Flatten(), *perceptron([1024 * 6 * 6, 3072, 4096, num_classes], dropout=0.5))
        super().__init__(features, classifier, num_classes)
