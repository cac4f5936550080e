"""Small models made for tests, some of them slow or too large on purpose, and programs that run in the test's process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from dlbs.core.logs import parse_line
from pytorch_benchmarks import model_factory
from tests.gpu.work import sleep

__all__ = ["MODELS", "Ran", "no_waiting", "on", "pause_of", "ran", "registered"]

MODELS = '''
"""Small models (2026)."""
import time
import torch
from torch import nn
from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.layers import ACTIVATIONS, NORMS, convolution
from pytorch_benchmarks.models.llama import Llama, Size
from pytorch_benchmarks.models.model import Model

__all__ = []
_SIZE = Size(64, width=16, depth=2, heads=2, key_heads=1, hidden=32, theta=1e4, tied=True)

def pause(tensor, milliseconds):
    """Keep the device of a tensor busy: on a GPU, the host goes on."""
    if tensor.is_cuda:
        torch.cuda._sleep(int(milliseconds * 1.5e6))
    else:
        time.sleep(milliseconds / 1000)

@register_model("small_net")
class SmallNet(Model):
    """Pictures of 16 x 16, with everything that remembers or forgets: running statistics and dropout."""

    title = "Small"
    input_shape = (3, 16, 16)

    def __init__(self, *, num_classes: int = 10, dropout: float = 0.2) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            *convolution(3, 16, 3, stride=2, norm=NORMS["batch"], activation=ACTIVATIONS["relu"]),
            *convolution(16, 32, 3, stride=2, norm=NORMS["batch"], activation=ACTIVATIONS["relu"]),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(32 * 16, num_classes))

    def forward(self, x):
        return self.classifier(self.features(x))

@register_model("slow_net")
class SlowNet(SmallNet):
    title = "Slow"

    def __init__(self, *, num_classes: int = 10, milliseconds: float = 20.0) -> None:
        super().__init__(num_classes=num_classes)
        self.milliseconds = milliseconds

    def forward(self, x):
        pause(x, self.milliseconds)
        return super().forward(x)

@register_model("huge_net")
class HugeNet(SmallNet):
    title = "Huge"

    def forward(self, x):
        return super().forward(x) + torch.empty(1 << 48, device=x.device)[0]

@register_model("patch_net")
class PatchNet(Model):
    """Pictures of 16 x 16 in patches, which may be larger than the picture."""

    title = "Patches"
    input_shape = (3, 16, 16)

    def __init__(self, *, num_classes: int = 10, patch: int = 4) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.patches = nn.Conv2d(3, num_classes, kernel_size=patch)

    def forward(self, x):
        return self.patches(x).mean(dim=(2, 3))

@register_model("small_text")
def small_text(*, sequence_length: int = 8, new_tokens: int = 6) -> Llama:
    return Llama("Small", _SIZE, sequence_length, new_tokens)

class SlowLlama(Llama):
    milliseconds = 20.0

    def forward(self, x, cache=None, start=0):
        pause(x, self.milliseconds)
        return super().forward(x, cache, start)

@register_model("slow_text")
def slow_text(*, sequence_length: int = 8, new_tokens: int = 4) -> Llama:
    return SlowLlama("Slow", _SIZE, sequence_length, new_tokens)
'''
Ran = tuple[int, dict[str, Any], str]


@contextmanager
def registered(directory: Path) -> Iterator[Path]:
    """A file with `MODELS` in a directory, for `--architecture`; afterwards no other test finds them."""
    path = directory / "made_for_gpu_tests.py"
    path.write_text(MODELS)
    try:
        yield path
    finally:
        for module, names in model_factory._LOADED.items():
            sys.modules.pop(module)
            for name in names:
                model_factory.BUILDERS.pop(name)
        model_factory._LOADED.clear()


def ran(main: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    """Run a program in this process: exit code, log values and stderr."""
    capsys.readouterr()
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, dict(pair for pair in map(parse_line, said.out.splitlines()) if pair), said.err


def on(device: torch.device) -> str:
    return "--device=cpu" if device.type == "cpu" else "--device=gpu"


def pause_of(device: torch.device, milliseconds: float = 20.0) -> float:
    """Milliseconds that a slow model takes at least, a fifth less than measured: the clock of a GPU is not always the same."""
    if device.type == "cpu":
        return milliseconds
    times = []
    for _ in range(8):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        sleep(milliseconds)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return 0.8 * min(times)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Let operations fail that make the host wait for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
