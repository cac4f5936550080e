"""TorchBench models with networks of PyTorch Geometric."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch_geometric.nn import GAT, GCN, GIN, EdgeCNN, GraphSAGE

from pytorch_benchmarks.torchbench.model import BenchmarkModel
from pytorch_benchmarks.torchbench.tasks import GNN

__all__ = ["BasicGNNModel", "GNNModel"]

_NETWORKS = {"gat": GAT, "gcn": GCN, "edgecnn": EdgeCNN, "gin": GIN, "sage": GraphSAGE}
_NODES, _EDGES, _FEATURES, _LAYERS = 10_000, 200_000, 64, 3


class BasicGNNModel(BenchmarkModel):
    """A graph network of three layers on one random graph of 10,000 nodes and 200,000 edges; training is a backward pass without an optimizer.

    Args:
        model_name: gat, gcn, edgecnn, gin or sage.
    """

    task = GNN.CLASSIFICATION
    ALLOW_CUSTOMIZE_BSIZE = False
    DEFAULT_TRAIN_BSIZE = 1
    DEFAULT_EVAL_BSIZE = 1

    def __init__(
        self, model_name: str, test: str, device: str, batch_size: int | None = None, extra_args: list[str] | None = None,
        *, jit: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args, jit=jit)
        self.model: nn.Module = _NETWORKS[model_name](_FEATURES, _FEATURES, num_layers=_LAYERS).to(device)
        features = torch.randn(_NODES, _FEATURES, device=device)
        self.example_inputs: tuple[Any, ...] = (features, torch.randint(_NODES, (2, _EDGES), device=device))

    def get_module(self) -> tuple[nn.Module, Any]:
        return self.model, self.example_inputs

    def train(self) -> None:
        outputs = self.model(*self.example_inputs)
        outputs.backward(torch.randn_like(outputs))

    def eval(self) -> tuple[Any, ...]:
        return (self.model(*self.example_inputs),)


class GNNModel(BenchmarkModel):
    """A graph network on a part of Reddit's graph, which the suite downloads: unsupported without its data."""

    def __init__(
        self, model_name: str, test: str, device: str, batch_size: int | None = None, extra_args: list[str] | None = None,
        *, jit: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args, jit=jit)
        raise NotImplementedError(f"{model_name} needs a part of Reddit's graph, which is part of the suite's own data")
