"""DeepConvLSTM for wearable sensors (Ordóñez and Roggen, Sensors 16(1):115, 2016)."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.model import Model, register_model

__all__ = ["SensorNet"]


@register_model("sensor_net")
class SensorNet(Model):
    """Four convolutions along time and two LSTM layers that classify an activity.

    Instances are windows of 24 samples of 113 sensor channels, as in the paper's Opportunity data set with its 18 classes.
    """

    title = "SensorNet"
    input_shape = (24, 113)
    num_classes = 18
    unit = "windows"

    def __init__(self) -> None:
        super().__init__()
        maps, channels = 64, self.input_shape[1]
        layers: list[nn.Module] = []
        for inputs in (1, maps, maps, maps):
            layers += [nn.Conv2d(inputs, maps, kernel_size=(5, 1)), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.lstm = nn.LSTM(maps * channels, 128, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(128, self.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x.unsqueeze(1))  # batch, maps, time, channels
        steps, _ = self.lstm(maps.transpose(1, 2).flatten(2))
        return self.classifier(steps[:, -1])
