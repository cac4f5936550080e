"""Train a small residual network on random images."""

import argparse
import itertools

import torch
import voir
from giving import give
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
        more = [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*layers, nn.ReLU(), *more)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(images + self.layers(images))


def network(classes: int) -> nn.Module:
    stages: list[nn.Module] = []
    channels = 3
    for wider in (16, 32, 64):
        stages += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), Block(wider)]
        channels = wider
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = network(classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    size = options.batch_size
    batches = [(torch.randn(size, 3, 64, 64), torch.randint(10, (size,))) for _ in range(8)]
    for images, targets in voir.iterate("train", itertools.cycle(batches), report_batch=True, batch_size=size):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
        give(loss=loss.item())


if __name__ == "__main__":
    main()
