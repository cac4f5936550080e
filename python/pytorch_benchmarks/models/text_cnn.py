"""A convolutional model that classifies sentences (Kim, EMNLP 2014)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.model import TextModel, register_model

__all__ = ["TextCNN"]


@register_model("text_cnn")
class TextCNN(TextModel):
    """The paper's CNN-rand: windows of 3, 4 and 5 words, 100 maps each, with max pooling over time.

    Vocabulary, classes and length are those of its movie review data set; shorter reviews are padded to the longest, 56 words.
    """

    title = "TextCNN"
    input_shape = (56,)
    vocabulary = 18_765
    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        width, maps = 300, 100
        self.embedding = nn.Embedding(self.vocabulary, width)
        self.windows = nn.ModuleList(nn.Conv1d(width, maps, size) for size in (3, 4, 5))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(3 * maps, self.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        words = self.embedding(x).transpose(1, 2)
        strongest = [window(words).relu().amax(dim=2) for window in self.windows]
        return self.classifier(self.dropout(torch.cat(strongest, dim=1)))
