"""The model named in the options, in this process, and backends that share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from pytorch_benchmarks.devices import make_current, synchronizer
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.models.generator import Generator
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.phases.inference import inference_step
from pytorch_benchmarks.phases.workload import requested_model
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.serving.backend import Backend
from pytorch_benchmarks.serving.lengths import draw_lengths
from pytorch_benchmarks.serving.network import NetworkBackend
from pytorch_benchmarks.serving.samples import load_samples
from pytorch_benchmarks.serving.text import Prompts, TextBackend

__all__ = ["Local", "build_local", "max_batch", "warmup_batches"]

_USUAL_WARMUP = 10  # batches of each size, where the options say `auto`


@dataclass(frozen=True, slots=True)
class Local:
    """A model that is ready to serve.

    Attributes:
        model: Has the weights, on the device.
        title: Source of the samples.
        prompts: Of a model that generates text; None for others.
        make_backend: Makes a backend; all of them share the model.
        build_seconds: Time to build the model and copy it to the device.
    """

    model: Model
    title: str
    prompts: Prompts | None
    make_backend: Callable[[], Backend]
    build_seconds: float


def build_local(options: BenchmarkOptions, device: torch.device, precision: Precision) -> Local:
    """Build the model and its samples.

    Raises:
        UsageError: The model or its samples are not available, or an option does not fit the model.
    """
    begin = perf_counter()
    model, lengths = _model_and_lengths(options)
    model = model.to(device=device, dtype=precision.weights)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wait = synchronizer(device)
    wait()
    seconds = perf_counter() - begin
    if options.compile:
        model.compile(mode=None if options.compile == "default" else options.compile)
    most, warmup = max_batch(options), warmup_batches(options)
    if isinstance(model, Generator):
        prompts = Prompts(model.vocabulary, *lengths, options.seed, device)
        generator = model

        def make_text() -> Backend:
            make_current(device)  # of the thread that uses the backend
            return TextBackend(generator, prompts, wait, most, warmup, precision)

        return Local(model, "synthetic/device", prompts, make_text, seconds)
    samples = load_samples(options, model, device, precision.weights)
    step = inference_step(model, precision)

    # cuDNN times its algorithms, and torch.compile captures its CUDA graphs, in the first batches of each size: not while latencies are measured.
    tunes = device.type != "cpu"

    def make() -> Backend:
        make_current(device)
        return NetworkBackend(step, samples, wait, most, warmup, tunes=tunes)

    return Local(model, samples.title, None, make, seconds)


def max_batch(options: BenchmarkOptions) -> int:
    """Maximum number of samples in a batch."""
    return options.serving_max_batch or options.batch_size


def warmup_batches(options: BenchmarkOptions) -> int:
    """Number of warm-up batches of each size."""
    return _USUAL_WARMUP if options.num_warmup_batches is None else options.num_warmup_batches


def _model_and_lengths(options: BenchmarkOptions) -> tuple[Model, tuple[list[int], list[int]]]:
    """The model, and the lengths of prompts and answers; models that generate text are built for the longest."""
    lengths: dict[str, list[int]] = {}
    answers = options.serving_output_tokens
    if not answers and options.serving_prompt_tokens.startswith("file:"):
        answers = options.serving_prompt_tokens
    for name, flag, words, column, seed in (
        ("sequence_length", "--serving_prompt_tokens", options.serving_prompt_tokens, 0, options.seed),
        ("new_tokens", "--serving_output_tokens", answers, 1, options.seed + 1),
    ):
        if words:
            lengths[name] = draw_lengths(flag, words, options.serving_samples, seed, column)
    if min(lengths.get("new_tokens", [2])) < 2:
        raise UsageError(
            "--serving_output_tokens: answers need at least two tokens, so that there is a time per further token"
        )
    try:
        model = requested_model(options, **{name: max(values) for name, values in lengths.items()})
    except UsageError:
        if not lengths:
            raise
        model = requested_model(options)
    if not isinstance(model, Generator):
        if lengths:
            raise UsageError(
                f"--serving_prompt_tokens and --serving_output_tokens: {options.model} generates no text; omit them"
            )
        return model, ([], [])
    prompts = lengths.get("sequence_length", [model.sequence_length] * options.serving_samples)
    outputs = lengths.get("new_tokens", [model.new_tokens] * options.serving_samples)
    for name, values, most in (
        ("sequence_length", prompts, model.sequence_length),
        ("new_tokens", outputs, model.new_tokens),
    ):
        if max(values) > most:
            raise UsageError(
                f"--model_opts {name} is {most}, but the longest length in --serving_prompt_tokens or --serving_output_tokens is {max(values)}"
            )
    return model, (prompts, outputs)
