"""TorchBench models with networks of timm."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import timm
import torch
from torch import Tensor, nn

from pytorch_benchmarks.torchbench.model import BenchmarkModel

__all__ = ["TimmModel"]


class TimmModel(BenchmarkModel):
    """A network of timm with random weights.

    Args:
        model_name: Name in timm.
    """

    TIMM_MODEL = True
    DEFAULT_EVAL_CUDA_PRECISION = "fp16"

    def __init__(
        self, model_name: str, test: str, device: str, batch_size: int | None = None, extra_args: list[str] | None = None,
        *, jit: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args, jit=jit)
        self.model: nn.Module = timm.create_model(model_name, pretrained=False, scriptable=True).to(device)
        self.amp_context: Any = nullcontext
        size = self.batch_size or 1
        shape = getattr(self.model, "default_cfg", {}).get("input_size", (3, 224, 224))
        self.example_inputs: Tensor = torch.randn(size, *shape, device=device)
        self.model.train(test == "train")
        if test == "train":
            self.example_outputs = torch.randint(self.model.num_classes, (size,), device=device)
            self.loss = nn.CrossEntropyLoss()
            self.optimizer = torch.optim.SGD(
                self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4, nesterov=True
            )

    def get_module(self) -> tuple[nn.Module, Any]:
        return self.model, (self.example_inputs,)

    def forward(self) -> Tensor:
        """The loss of one batch."""
        with self.amp_context():
            outputs = self.model(self.example_inputs)
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        loss: Tensor = self.loss(logits, self.example_outputs)
        return loss

    def backward(self, loss: Tensor) -> None:
        """The gradients of the weights."""
        loss.backward()

    def optimizer_step(self) -> None:
        """One step of the optimizer."""
        self.optimizer.step()

    def eval(self) -> tuple[Any, ...]:
        with self.amp_context():
            return (self.model(self.example_inputs),)
