"""A model for speech recognition: from feature frames to states of a hidden Markov model."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, perceptron
from pytorch_benchmarks.models.model import Model, register_model

__all__ = ["AcousticModel"]


@register_model("acoustic_model")
class AcousticModel(Model):
    """Acoustic model, fully connected: 540 features, 8192 states (after Hinton et al., IEEE Signal Processing 29(6), 2012)."""

    title = "AcousticModel"
    input_shape = (540,)
    unit = "frames"
    num_classes = 8192

    def __init__(self, *, activation: Activation = ACTIVATIONS["relu"]) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *perceptron([540, 2048, 2048, 2048, 2048, 2048, self.num_classes], activation=activation)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
