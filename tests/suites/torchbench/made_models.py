"""Models as people write them for TorchBench, in both forms of its interface."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT

MEASURED = ROOT / "dlbs" / "suites" / "torchbench" / "measured"
LOADER = f"--pack_loader={MEASURED / 'workload.py'}"

__all__ = ["FIRST", "PARTS", "PRESENT", "write_model"]

# As such models are written: relative imports of TorchBench's base class and of files beside it, data found by __file__.
PRESENT = """
from pathlib import Path
import torch
from torch import nn
from ...util.model import BenchmarkModel
from torchbenchmark.tasks import NLP
from .parts import Network

class Model(BenchmarkModel):
    task = NLP.LANGUAGE_MODELING
    DEFAULT_TRAIN_BSIZE = 4
    DEFAULT_EVAL_BSIZE = 8

    def __init__(self, test, device, batch_size=None, extra_args=[]):
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args)
        self.words, self.extra_args = self.extra_args, []
        torch.manual_seed(7)
        self.model = Network(int(Path(__file__).with_name("size.txt").read_text())).to(device)
        self.example_inputs = (torch.randn(self.batch_size, 5, device=device),)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        EXTRA

    def get_module(self):
        return self.model, self.example_inputs

    def train(self):
        self.optimizer.zero_grad()
        loss = self.model(*self.example_inputs).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def eval(self):
        with torch.no_grad():
            return self.model(*self.example_inputs)
    MORE
"""


PARTS = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, size), nn.Dropout(0.5), nn.Linear(size, 1))

    def forward(self, x):
        FORWARD
        return self.layers(x)
"""


FIRST = """
import torch
from ...util.model import BenchmarkModel

class Model(BenchmarkModel):
    def __init__(self, device=None, jit=False):
        super().__init__()
        if jit:
            raise NotImplementedError("no jit here")
        self.device = device
        torch.manual_seed(1)
        self.module = torch.nn.Linear(3, 2).to(device)
        self.inputs = (torch.ones(6, 3, device=device),)
        self.turns = 0

    def get_module(self):
        return self.module, self.inputs

    def train(self, niter=1):
        raise NotImplementedError("only inference")

    def eval(self, niter=1):
        for _ in range(niter):
            self.turns += 1
            self.module(*self.inputs)

if __name__ == '__main__':
    Model("cpu").eval()
"""


def write_model(
    directory: Path, source: str = PRESENT, *, extra: str = "pass", more: str = "", forward: str = "pass"
) -> Path:
    directory.mkdir(parents=True)
    (directory / "__init__.py").write_text(source.replace("EXTRA", extra).replace("MORE", more))
    (directory / "parts.py").write_text(PARTS.replace("FORWARD", forward))
    (directory / "size.txt").write_text("6")
    return directory
