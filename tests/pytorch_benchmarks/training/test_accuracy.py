"""Accuracy over exactly the whole data set."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from benchmark_core.exits import BenchmarkError
from pytorch_benchmarks.data.dataset import Crop, Dataset, Uniform
from pytorch_benchmarks.data.source import once
from pytorch_benchmarks.data.transforms import Normalise
from pytorch_benchmarks.devices import Precision, World
from pytorch_benchmarks.training.accuracy import Accuracy, evaluate

CPU = torch.device("cpu")


PLAIN = Precision(torch.float32, None, False, "cpu")


class Numbers(Dataset):
    """Pictures of their own number, which is their class too."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    @property
    def num_classes(self) -> int:
        return self.length

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        target.fill_(index)
        return index


@pytest.mark.parametrize("workers", [0, 2])
def test_every_picture_is_evaluated_exactly_once(workers: int) -> None:
    normalise = Normalise(torch.float32, False, 0, 3, CPU)
    for length in (1, 2, 7, 12):
        for size in (1, 2, 3):
            for batch in (1, 4, 16):
                seen: Counter[int] = Counter()
                for rank in range(size):
                    batches = once(
                        Numbers(length),
                        batch,
                        Crop("center"),
                        (3, 2, 2),
                        normalise,
                        workers=workers,
                        world=World(rank, size),
                    )
                    for inputs, labels in batches:
                        assert 1 <= len(inputs) == len(labels) <= batch
                        seen.update(labels.tolist())
                assert seen == Counter(range(length)), (length, size, batch)


class Guess(nn.Module):
    """Finds a class to be the likeliest, and the next four to follow."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.zeros(len(x), 10)
        scores[:, self.first : self.first + 5] = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
        return scores


def test_accuracy_counts_the_likeliest_and_the_five_likeliest() -> None:
    batches = [(torch.zeros(4, 1), torch.tensor([2, 2, 3, 6])), (torch.zeros(1, 1), torch.tensor([9]))]
    found = evaluate(Guess(2), iter(batches), expected=5, precision=PLAIN, world=World(), device=CPU)
    assert found == Accuracy(instances=5, top1=2, top5=4)
    assert found.percent() == {"accuracy_top1": 40.0, "accuracy_top5": 80.0}


def test_an_evaluation_that_missed_pictures_is_an_error() -> None:
    batches = [(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(BenchmarkError, match="4 images were evaluated, but the data set has 5"):
        evaluate(Guess(2), iter(batches), expected=5, precision=PLAIN, world=World(), device=CPU)
