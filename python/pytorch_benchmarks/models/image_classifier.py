"""Base class of most image classifiers: a feature extractor, then a classifier of the features."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.model import Model

__all__ = ["ImageClassifier", "pooled_classifier"]


class ImageClassifier(Model):
    """Maps images (batch, *input_shape) to logits (batch, num_classes).

    Args:
        features: Maps images to features.
        classifier: Maps features to logits.
        num_classes: Of the classifier.
    """

    def __init__(self, features: nn.Module, classifier: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def pooled_classifier(channels: int, num_classes: int, *, dropout: float = 0.0) -> nn.Sequential:
    """The mean of each channel, optional dropout, and one fully connected layer."""
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))
