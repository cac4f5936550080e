"""The learning rate over the course of a training."""

from __future__ import annotations

import math

from pytorch_benchmarks.options.training import TrainingOptions

__all__ = ["learning_rate"]


def learning_rate(options: TrainingOptions, progress: float) -> float:
    """The learning rate after `progress` epochs; a function of that alone, so that resuming needs no stored state.

    It rises linearly for `lr_warmup_epochs`; then it decreases in steps, as half a cosine (Loshchilov and Hutter,
    arXiv:1608.03983), exponentially, or not at all.

    Args:
        options: Schedule and rates.
        progress: Completed epochs, with a fraction.
    """
    warmup = options.lr_warmup_epochs
    if progress < warmup:
        share = options.lr_warmup_decay
        return options.lr * (share + (1 - share) * progress / warmup)
    after = progress - warmup
    if options.lr_scheduler == "step":
        # Slightly more, because batch 500 of 500 may be computed as 29.999999999.
        steps = math.floor(after / options.lr_step_size + 1e-9) if options.lr_step_size else 0
        return options.lr * options.lr_gamma**steps
    if options.lr_scheduler == "exponential":
        return options.lr * options.lr_gamma ** math.floor(after + 1e-9)
    if options.lr_scheduler == "cosine":
        done = min(1.0, after / max(1e-9, options.epochs - warmup))
        return options.lr_min + (options.lr - options.lr_min) * (1 + math.cos(math.pi * done)) / 2
    return options.lr
