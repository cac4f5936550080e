"""Models of text: the tokens that one sees, and generating from a cache."""

from __future__ import annotations

import pytest
import torch

from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.bert import Bert
from pytorch_benchmarks.models.gpt2 import GPT2
from pytorch_benchmarks.models.llama import Llama, Size
from pytorch_benchmarks.phases import Generation

# What a token sees is a matter of the layers, not of their size.
SMALL = Size(1000, width=72, depth=3, heads=6, key_heads=2, hidden=96, theta=10_000.0, tied=True)


def test_a_decoder_does_not_see_what_comes_later() -> None:
    torch.manual_seed(0)
    model = GPT2("small", 48, 3, 4, sequence_length=8).eval()
    tokens = model.inputs(1, torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 5] += 1
    with torch.inference_mode():
        before, after = model(tokens)[0], model(changed)[0]
    assert torch.allclose(before[:5], after[:5], atol=1e-5)
    assert not torch.allclose(before[5], after[5])


def test_an_encoder_sees_what_comes_later() -> None:
    torch.manual_seed(0)
    model = Bert("small", 48, 3, 4, sequence_length=8).eval()
    tokens = model.inputs(1, torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 5] += 1
    with torch.inference_mode():
        before, after = model(tokens)[0], model(changed)[0]
    assert not torch.allclose(before[0, 0], after[0, 0])


def test_decoding_from_the_cache_gives_what_the_whole_sequence_gives() -> None:
    torch.manual_seed(0)
    model = Llama("small", SMALL, 6, 5).eval()
    prompt = model.inputs(2, torch.Generator().manual_seed(0))
    made = Generation(model, 2, lambda: None)((prompt, None))
    assert made.shape == (2, 5)
    sequence = prompt
    with torch.inference_mode():
        for _ in range(5):
            sequence = torch.cat([sequence, model(sequence)[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(made, sequence[:, 6:])


def test_generation_tells_prefill_from_decode() -> None:
    model = Llama("small", SMALL, 32, 3)
    step = Generation(model, 2, lambda: None)
    for _ in range(3):
        step((model.inputs(2, torch.Generator()), None))
    found = step.metrics(batches=2, replicas=1)
    assert found["results.prefill_throughput"] == pytest.approx(2 * 32 * 1000 / found["results.time_prefill"])
    assert found["results.decode_throughput"] == pytest.approx(2 * 2 * 1000 / found["results.time_decode"])


def test_a_sequence_cannot_be_longer_than_the_positions() -> None:
    with pytest.raises(TypeError, match="1 to 1024"):
        get_model("gpt2_small", sequence_length=2000)
