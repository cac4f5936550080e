"""NAME: a short description, and its paper."""

from pathlib import Path

import torch
from torch import nn
from torchbenchmark.tasks import COMPUTER_VISION
from torchbenchmark.util.model import BenchmarkModel

from .network import Network

# Data are next to the code, so that it runs from any directory.
DATA = Path(__file__).parent / "data" / "batch.txt"


class Model(BenchmarkModel):
    """Raise NotImplementedError, in the constructor or a method, for what is not supported."""

    task = COMPUTER_VISION.CLASSIFICATION
    DEFAULT_TRAIN_BSIZE = 16
    DEFAULT_EVAL_BSIZE = 32

    def __init__(self, test, device, batch_size=None, extra_args=None):
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args)
        # Equal weights and data each time, without changing the random state of other models.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1337)
            self.model = Network().to(device)
            scale = float(DATA.read_text())
            self.inputs = (scale * torch.randn(self.batch_size, 3, 32, 32)).to(device)
            self.targets = torch.randint(10, (self.batch_size,)).to(device)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def get_module(self):
        return self.model, (self.inputs,)

    def train(self):
        self.optimizer.zero_grad()
        loss = self.loss(self.model(self.inputs), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def eval(self):
        with torch.no_grad():
            return (self.model(self.inputs),)


if __name__ == "__main__":  # dlbs pack shell NAME python -m pytorch_benchmarks.torchbench .
    for test in ("train", "eval"):
        print(test, getattr(Model(test, "cpu"), test)())
