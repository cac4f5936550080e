"""Precisions: what a device can compute in, and how it is described."""

from __future__ import annotations

import pytest
import torch

from benchmark_core.exits import SkippedError, UsageError
from pytorch_benchmarks.devices import choose_precision
from pytorch_benchmarks.options import parse_benchmark_options

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["--dtype=tf32"], SkippedError, "not supported by this cpu device; use float32, float16, bfloat16"),
        (["--dtype=int8"], SkippedError, "use float32, float16, bfloat16, or exp.framework=onnxruntime"),
        (["--amp", "--dtype=float32"], UsageError, "--amp computes in float16 or bfloat16"),
    ],
)
def test_what_the_device_cannot_do(arguments: list[str], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        choose_precision(parse_benchmark_options(["--model=deep_mnist", *arguments]), CPU)


def test_precision_is_told_in_words() -> None:
    for arguments, words in (
        ([], "float32"),
        (["--dtype=bfloat16"], "bfloat16"),
        (["--dtype=float16", "--amp"], "float32 weights, float16 autocast"),
    ):
        assert choose_precision(parse_benchmark_options(["--model=m", *arguments]), CPU).describe() == words
