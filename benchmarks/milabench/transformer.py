"""Train a small language model on random tokens: each token is predicted from those before it."""

import argparse
import itertools

import torch
import voir
from giving import give
from torch import Tensor, nn

WORDS = 512
WIDTH = 128


class LanguageModel(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(torch.zeros(length, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=4 * WIDTH, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2)
        self.scores = nn.Linear(WIDTH, WORDS)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scores(self.layers(self.words(tokens) + self.places, mask=self.mask, is_causal=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = LanguageModel(options.length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = [torch.randint(WORDS, (options.batch_size, options.length + 1)) for _ in range(8)]
    # voir takes the first dimension of the tensor as the batch size.
    for tokens in voir.iterate("train", itertools.cycle(batches), report_batch=True):
        optimizer.zero_grad()
        scores = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(scores.reshape(-1, WORDS), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        give(loss=loss.item())


if __name__ == "__main__":
    main()
