"""A network of speech recognition: from frames of features to the states of a hidden Markov model."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.model import Model

__all__ = ["AcousticModel"]


@register_model("acoustic_model")
class AcousticModel(Model):
    """Acoustic model, fully connected: 540 features, 8192 states (after Hinton et al., IEEE Signal Processing 29(6), 2012)."""

    title = "AcousticModel"
    input_shape = (540,)
    unit = "frames"
    num_classes = 8192

    def __init__(self) -> None:
        super().__init__()
        sizes = [540, 2048, 2048, 2048, 2048, 2048]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.model = nn.Sequential(*layers, nn.Linear(sizes[-1], self.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
