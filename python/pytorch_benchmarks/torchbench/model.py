"""The base class of models that are written for TorchBench."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import torch
from torch import nn

__all__ = ["BenchmarkModel"]


class BenchmarkModel:
    """A model with its data, that can train on and evaluate one batch.

    Subclasses are constructed as `Model(test, device, batch_size, extra_args)`, or as `Model(device, jit)` in TorchBench's first form. What a model
    does not support raises `NotImplementedError`, from its constructor or from the method.

    Attributes:
        test: `train` or `eval`.
        device: `cpu`, `cuda`, …
        batch_size: Instances in a batch.
        extra_args: Words that the model understands.
    """

    DEFAULT_TRAIN_BSIZE: ClassVar[int | None] = None
    DEFAULT_EVAL_BSIZE: ClassVar[int | None] = None
    ALLOW_CUSTOMIZE_BSIZE: ClassVar[bool] = True

    test: str
    device: str
    batch_size: int | None
    extra_args: list[str]

    def __init__(
        self, test: str = "eval", device: str = "cpu", batch_size: int | None = None, extra_args: list[str] | None = None, **_: Any
    ) -> None:  # fmt: skip
        self.test = test
        self.device = device
        self.extra_args = list(extra_args or [])
        usual = self.DEFAULT_TRAIN_BSIZE if test == "train" else self.DEFAULT_EVAL_BSIZE
        if batch_size and usual and batch_size != usual and not self.ALLOW_CUSTOMIZE_BSIZE:
            raise NotImplementedError(f"the batch size cannot be other than {usual}")
        self.batch_size = batch_size or usual

    def get_module(self) -> tuple[nn.Module, Any]:
        """The network, and inputs for one call of it.

        Raises:
            NotImplementedError: The model has none.
        """
        raise NotImplementedError("get_module")

    def train(self) -> Any:
        """Train on one batch.

        Raises:
            NotImplementedError: The model cannot.
        """
        raise NotImplementedError("train")

    def eval(self) -> Any:
        """Evaluate one batch.

        Raises:
            NotImplementedError: The model cannot.
        """
        raise NotImplementedError("eval")

    def set_train(self) -> None:
        """Bring the network into training mode. Models with several networks override this."""
        self._set_mode(True)

    def set_eval(self) -> None:
        """Bring the network into evaluation mode."""
        self._set_mode(False)

    def _set_mode(self, training: bool) -> None:
        module, _ = self.get_module()
        module.train(training)

    def jit_callback(self) -> None:
        """Replace the network by its script.

        Raises:
            NotImplementedError: The model cannot be scripted.
        """
        module = getattr(self, "model", None)
        if not isinstance(module, nn.Module):
            raise NotImplementedError("jit: the network is not the attribute `model`")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch says that scripts are a thing of the past
            self.model = torch.jit.script(module)

    def enable_amp(self) -> None:
        """Compute in lower precision where that is safe.

        Raises:
            NotImplementedError: The model cannot.
        """
        raise NotImplementedError("amp")

    def get_optimizer(self) -> Any:
        """The optimiser, for models that call it `optimizer` or `opt`."""
        found = getattr(self, "optimizer", None) or getattr(self, "opt", None)
        if found is None:
            raise NotImplementedError("get_optimizer")
        return found
