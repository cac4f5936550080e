"""Deep learning recommendation model (Naumov et al., arXiv:1906.00091)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmark_core.options import check_whole
from pytorch_benchmarks.models.layers import perceptron
from pytorch_benchmarks.models.model import Model, register_model

__all__ = ["Dlrm"]

# Distinct values of each of the 26 categorical features in the Criteo display advertising challenge.
_CRITEO = (
    (1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572)
)  # fmt: skip


@register_model("dlrm_small")
class Dlrm(Model):
    """The paper's model for the Criteo challenge: 13 numbers and 26 categories predict the probability of a click.

    Inputs are numbers, shape (batch, 13), and categories, int64, shape (batch, 26); outputs are logits, shape (batch,).

    Args:
        max_rows: Maximum number of rows per table, shared by the remaining categories, to limit memory; 0 keeps all
            33,762,577 rows, as in the paper.
    """

    title = "DLRM"
    input_shape = (39,)
    unit = "instances"
    num_classes = 2
    numbers, width = 13, 16

    def __init__(self, *, max_rows: int = 100_000) -> None:
        super().__init__()
        check_whole("max_rows", max_rows, least=0)
        self.rows = [min(rows, max_rows) if max_rows else rows for rows in _CRITEO]
        self.tables = nn.ModuleList(nn.Embedding(rows, self.width) for rows in self.rows)
        self.bottom = nn.Sequential(*perceptron([self.numbers, 512, 256, 64, self.width]), nn.ReLU(inplace=True))
        vectors = len(self.rows) + 1
        pairs = vectors * (vectors - 1) // 2
        self.top = nn.Sequential(*perceptron([self.width + pairs, 512, 256, 1]))

    def inputs(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random numbers and uniformly distributed categories."""
        shares = torch.rand(batch_size, len(self.rows), generator=generator, dtype=torch.float64)
        numbers = torch.randn(batch_size, self.numbers, generator=generator)
        return numbers, (shares * torch.tensor(self.rows)).long()

    def loss(self, output: Any, target: Any) -> Tensor:
        """Mean binary cross-entropy."""
        return nn.functional.binary_cross_entropy_with_logits(output.float(), target.float())

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        numbers, categories = x
        dense = self.bottom(numbers)
        found = [dense]
        for column, table in enumerate(self.tables):
            found.append(table(categories[:, column]))
        vectors = torch.stack(found, dim=1)
        # Computed on the device: lists would be copied to it in each batch. A buffer would be sent to all replicas in each batch.
        pairs = torch.tril_indices(len(found), len(found), offset=-1, device=vectors.device)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, pairs[0], pairs[1]]
        return self.top(torch.cat([dense, products.to(dense.dtype)], dim=1)).squeeze(1)
