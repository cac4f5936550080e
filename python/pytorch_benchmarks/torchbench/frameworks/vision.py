"""TorchBench models with networks of torchvision."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from pytorch_benchmarks.torchbench.model import BenchmarkModel

__all__ = ["TorchVisionModel"]


class TorchVisionModel(BenchmarkModel):
    """A network of torchvision for 224 × 224 images, with random weights, since times do not depend on them: nothing is downloaded.

    Args:
        model_name: Name in torchvision.
        weights: Name of trained weights in the model's file; ignored.
    """

    TORCHVISION_MODEL = True
    DEFAULT_EVAL_CUDA_PRECISION = "fp16"

    def __init__(
        self, model_name: str, test: str, device: str, batch_size: int | None = None, weights: Any = None, extra_args: list[str] | None = None,
        *, jit: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args, jit=jit)
        self.model: nn.Module = getattr(models, model_name)(weights=None).to(device)
        self.example_inputs: tuple[Tensor, ...] = (torch.randn(self.batch_size or 1, 3, 224, 224, device=device),)
        self.amp_context: Any = nullcontext
        self.model.train(test == "train")
        if test == "train":
            self.loss_fn = nn.CrossEntropyLoss()
            self.opt = torch.optim.Adam(self.model.parameters())

    def get_module(self) -> tuple[nn.Module, Any]:
        return self.model, self.example_inputs

    def forward(self) -> Tensor:
        """The loss of one batch. The shape of its targets comes from a preceding pass: the suite's step has two passes, so this one has too."""
        with self.amp_context():
            with torch.no_grad():
                targets = torch.rand_like(_logits(self.model(*self.example_inputs)))
            outputs = _logits(self.model(*self.example_inputs))
        loss: Tensor = self.loss_fn(outputs, targets.to(outputs.dtype))
        return loss

    def backward(self, loss: Tensor) -> None:
        """The gradients of the weights."""
        loss.backward()

    def optimizer_step(self) -> None:
        """One step of the optimizer."""
        self.opt.step()

    def eval(self) -> tuple[Any, ...]:
        with self.amp_context():
            return (self.model(*self.example_inputs),)


def _logits(outputs: Any) -> Tensor:
    """The logits; in training, GoogLeNet and Inception return those of auxiliary classifiers too; segmentation returns a mapping."""
    if isinstance(outputs, dict):
        outputs = outputs["out"]
    found: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
    return found
