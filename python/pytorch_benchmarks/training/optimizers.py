"""Optimisers, and weight decay by group of parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pytorch_benchmarks.options.training import TrainingOptions
from pytorch_benchmarks.phases.training import can_fuse

__all__ = ["build_optimizer", "parameter_groups"]

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


def build_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """The requested optimiser, in its fused form if available."""
    groups = parameter_groups(model, options)
    fused = can_fuse(list(model.parameters()))
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.lr, fused=fused)
    if options.optimizer == "rmsprop":
        # Usual for mobile networks: squared gradients are averaged over ten batches, with a large epsilon.
        return torch.optim.RMSprop(groups, lr=options.lr, alpha=0.9, eps=0.0316, momentum=options.momentum)
    return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, fused=fused)


def parameter_groups(model: nn.Module, options: TrainingOptions) -> list[dict[str, Any]]:
    """Parameters grouped by their weight decay."""
    decays: dict[float, list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen:  # shared by two layers
                continue
            seen.add(parameter)
            decay: float | None = None
            if isinstance(module, _NORMS):
                decay = options.norm_weight_decay
            elif name.endswith("bias"):
                decay = options.bias_weight_decay
            decays.setdefault(options.weight_decay if decay is None else decay, []).append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in decays.items()]
