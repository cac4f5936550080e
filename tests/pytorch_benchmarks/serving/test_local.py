"""Models in this process as backends: samples, batches, tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pytorch_benchmarks.models.llama import Llama, Size
from pytorch_benchmarks.serving.local import NetworkBackend, Prompts, Samples, TextBackend, warmup_sizes

CPU = torch.device("cpu")


class Events:
    """BatchListener, written down."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[int], list[int]]] = []

    def first_token(self, positions: Sequence[int]) -> None:
        self.seen.append(("first", list(positions), []))

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        self.seen.append(("done", list(positions), list(tokens)))


def test_a_batch_has_the_samples_that_were_asked_for() -> None:
    first, second = torch.arange(12.0).view(4, 3), torch.arange(4)
    samples = Samples((first, second), "synthetic")
    assert samples.count == 4
    one, number = samples.batch([2])
    assert one.tolist() == [[6.0, 7.0, 8.0]]
    assert number.tolist() == [2]
    assert one.data_ptr() == first[2:].data_ptr(), "one sample needs no copy"
    several, numbers = samples.batch([3, 0, 3])
    assert several[:, 0].tolist() == [9.0, 0.0, 9.0]
    assert numbers.tolist() == [3, 0, 3]


def test_a_network_is_warmed_up_with_every_size_and_waited_for() -> None:
    sizes: list[int] = []
    waits: list[int] = []
    backend = NetworkBackend(
        lambda batch: sizes.append(len(batch[0])),
        Samples(torch.zeros(2, 3), ""),
        lambda: waits.append(len(sizes)),
        6,
        2,
    )
    backend.warm_up()
    assert sizes == [1, 1, 2, 2, 4, 4, 6, 6]
    backend.answer([1, 0, 1], Events())
    assert sizes[-1] == 3
    assert waits == list(range(1, 10)), "the device is waited for after each batch"


def test_a_device_that_tunes_every_size_is_warmed_up_with_every_size() -> None:
    """cuDNN times its algorithms in the first batch of a size, and a CUDA graph is captured in the second one: not while latencies are measured."""
    sizes: list[int] = []

    def backend(warmup: int) -> NetworkBackend:
        samples = Samples(torch.zeros(2, 3), "")
        return NetworkBackend(lambda batch: sizes.append(len(batch[0])), samples, lambda: None, 6, warmup, tunes=True)

    backend(3).warm_up()
    assert sizes == [1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 6]
    sizes.clear()
    backend(1).warm_up()
    assert sizes == [1, 2, 3, 4, 5, 6]
    sizes.clear()
    backend(0).warm_up()
    assert sizes == [], "nobody wants a warm-up"


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8])])
def test_sizes_of_the_warm_up(most: int, sizes: list[int]) -> None:
    assert warmup_sizes(most) == sizes


def tiny() -> Llama:
    torch.manual_seed(1)
    return Llama("Tiny", Size(64, width=16, depth=2, heads=2, key_heads=1, hidden=32, theta=1e4, tied=True), 8, 5)


def test_answers_are_given_back_when_each_is_complete() -> None:
    prompts = Prompts(64, [8, 3, 5, 8], [5, 2, 3, 2], seed=1, device=CPU)
    events = Events()
    TextBackend(tiny(), prompts, lambda: None, max_batch=4, warmup=0).answer([0, 1, 2, 3], events)
    assert events.seen == [
        ("first", [0, 1, 2, 3], []),
        ("done", [1, 3], [2, 2]),
        ("done", [2], [3]),
        ("done", [0], [5]),
    ]


def test_the_tokens_are_those_that_the_model_generates() -> None:
    model = tiny().eval()
    prompts = Prompts(64, [8, 8], [5, 5], seed=1, device=CPU)
    seen: list[Tensor] = []
    hook = model.register_forward_hook(lambda module, inputs, output: seen.append(output[:, -1:].argmax(dim=-1)))
    TextBackend(model, prompts, lambda: None, max_batch=4, warmup=0).answer([1, 0], Events())
    hook.remove()
    with torch.inference_mode():
        cache = model.cache(2)
        first = model.prefill(prompts.batch([1, 0]), cache)
        expected = torch.cat([first, model.decode(first, cache, 4)], dim=1)
    assert torch.equal(torch.cat(seen, dim=1), expected)


def test_prompts_of_a_batch_are_as_long_as_its_longest() -> None:
    prompts = Prompts(64, [8, 3, 5], [2, 2, 2], seed=1, device=CPU)
    assert prompts.batch([1, 2]).shape == (2, 5)
    assert prompts.batch([0, 1]).shape == (2, 8)
    assert int(prompts.batch([0]).max()) < 64
