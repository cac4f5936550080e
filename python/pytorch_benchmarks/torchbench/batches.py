"""Run a TorchBench model on one batch: whole or in stages, with or without gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

from pytorch_benchmarks.errors import BenchmarkError

__all__ = ["Phase", "call_once", "is_staged", "one_batch", "phase_of"]

Phase = Callable[[], Any]
_STAGES = ("forward", "backward", "optimizer_step")
_OF_THE_BASE = "pytorch_benchmarks.torchbench.model"  # whose train() only raises NotImplementedError


def phase_of(made: Any, test: str) -> Phase:
    """A function that runs one batch of `train` or `eval`. Inference runs without gradients unless the model's `eval_in_nograd()` returns False.

    Raises:
        BenchmarkError: The model has no such method.
    """
    if not (test == "train" and is_staged(made)) and getattr(made, test, None) is None:
        raise BenchmarkError(f"the class Model has no method {test}")
    if test == "train":
        return lambda: one_batch(made, test)
    wants_gradients = hasattr(made, "eval_in_nograd") and not made.eval_in_nograd()

    def infer() -> Any:
        with torch.set_grad_enabled(wants_gradients):
            return one_batch(made, test)

    return infer


def is_staged(made: Any) -> bool:
    """Whether a model trains in stages: forward, backward, optimizer_step. Its own method `train` takes precedence."""
    whole = getattr(type(made), "train", None)
    own = whole is not None and whole.__module__ != _OF_THE_BASE
    return not own and all(callable(getattr(made, name, None)) for name in _STAGES)


def one_batch(made: Any, test: str) -> Any:
    """Train on one batch, or evaluate one, in the contexts of the model.

    Returns:
        The result of the model's method; of stages, the loss.
    """
    if test == "train" and is_staged(made):
        return _staged(made)
    method = getattr(made, test)
    with _entered(getattr(made, "run_contexts", ())):
        result = call_once(method)
    if isinstance(result, NotImplementedError):  # some models return it instead of raising it
        raise result
    return result


def call_once(method: Callable[..., Any]) -> Any:
    """Call a method that may take a number of iterations, as in the first form of models: one."""
    return method(niter=1) if "niter" in inspect.signature(method).parameters else method()


def _staged(made: Any) -> Any:
    try:
        optimizer = made.get_optimizer()
    except (AttributeError, NotImplementedError):
        optimizer = None
    with _entered(getattr(made, "run_contexts", ())):
        if optimizer is not None:
            optimizer.zero_grad()
        with _entered(getattr(made, "forward_contexts", ())):
            losses = made.forward()
        with _entered(getattr(made, "backward_contexts", ())):
            made.backward(losses)
        if optimizer is not None:
            with _entered(getattr(made, "optimizer_contexts", ())):
                made.optimizer_step()
    return losses


def _entered(makers: Iterable[Callable[[], AbstractContextManager[Any]]]) -> ExitStack:
    stack = ExitStack()
    for make in makers:
        stack.enter_context(make())
    return stack
