"""Throughput of our models in the harness, compared with a bare loop, and with other libraries' models of the same architecture."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.sides import Effort, Measurement, NotHereError, bare, compare, matrix_rate, ours, ratio
from pytorch_benchmarks.data.source import synthetic_batches
from pytorch_benchmarks.devices import Precision, set_backends
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import LEARNING_RATE, graphed, inference_step, training_step
from pytorch_benchmarks.results import count_work

# Model → batch size; text models use their default sequence length.
BATCHES = {"resnet50": 128, "vit_b_16": 128, "bert_base": 64, "gpt2_small": 8}
TINY = {"resnet50": "deep_mnist", "vit_b_16": "deep_mnist", "bert_base": "text_cnn", "gpt2_small": "text_cnn"}


@dataclass(frozen=True, slots=True)
class Mode:
    """Settings of a model's run.

    Attributes:
        arithmetic: float32, tf32 or bfloat16; bfloat16 is autocast in training, and the type of the weights in inference.
        compiled: Whether torch.compile is used, on both sides.
        graphs: Whether our side is recorded as a CUDA graph; the bare loop is not.
        channels_last: Memory format of images, on both sides.
    """

    arithmetic: str
    compiled: bool = False
    graphs: bool = False
    channels_last: bool = False

    def precision(self, train: bool, device: torch.device) -> Precision:
        """The precision, as benchmarks.py derives it from --dtype and --amp."""
        if self.arithmetic != "bfloat16":
            return Precision(torch.float32, None, self.arithmetic == "tf32" and device.type == "cuda", device.type)
        if train:
            return Precision(torch.float32, torch.bfloat16, False, device.type)
        return Precision(torch.bfloat16, None, False, device.type)


# The most important first: a session may end before the last. Compiling takes up to a minute per model.
MODES = {
    "bf16": Mode("bfloat16", channels_last=True),
    "tf32": Mode("tf32"),
    "fp32": Mode("float32"),
    "graphs, bf16": Mode("bfloat16", graphs=True, channels_last=True),
    "compile, bf16": Mode("bfloat16", compiled=True, channels_last=True),
}

# Other libraries' models of the same architecture: the package, and the function that creates one.
Rival = tuple[str, Callable[[Any], nn.Module]]
RIVALS: dict[str, list[Rival]] = {
    "resnet50": [
        ("torchvision", lambda package: package.models.resnet50()),
        ("timm", lambda package: package.create_model("resnet50")),
    ],
    "vit_b_16": [
        ("torchvision", lambda package: package.models.vit_b_16()),
        ("timm", lambda package: package.create_model("vit_base_patch16_224")),
    ],
    "bert_base": [("transformers", lambda package: package.BertForPreTraining(package.BertConfig()))],
    "gpt2_small": [
        (
            "transformers",
            lambda package: package.GPT2LMHeadModel(
                package.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False)
            ),
        )
    ],
}


def measurements() -> Iterator[Measurement]:
    """Those that compile nothing, in order of importance."""
    for mode_name, mode in MODES.items():
        if mode.compiled:
            continue
        for train in (True, False):
            yield from _of_our_models(mode_name, train)
        if mode_name == "bf16":
            for train in (True, False):
                for model, rivals in RIVALS.items():
                    for rival in rivals:
                        name = f"{model} {'training' if train else 'inference'} {mode_name} vs {rival[0]}"
                        yield Measurement(name, partial(_beside_rival, model, rival, mode, train))


def compiled() -> Iterator[Measurement]:
    """Those of compiled models; training takes longest to compile."""
    for train in (False, True):
        for mode_name, mode in MODES.items():
            if mode.compiled:
                yield from _of_our_models(mode_name, train)


def _of_our_models(mode_name: str, train: bool) -> Iterator[Measurement]:
    for model in BATCHES:
        name = f"{model} {'training' if train else 'inference'} {mode_name}"
        yield Measurement(name, partial(_beside_bare_loop, model, MODES[mode_name], train))


@dataclass(frozen=True, slots=True)
class _Subject:
    """One of our models on the device, with its batch and settings."""

    model: Model
    batches: Iterator[Any]
    batch: int
    precision: Precision


def _subject(name: str, mode: Mode, train: bool, effort: Effort) -> _Subject:
    precision = mode.precision(train, effort.device)
    set_backends(parse_benchmark_options(["--model=m"]), tf32=precision.tf32)
    batch = 2 if effort.tiny else BATCHES[name]
    torch.manual_seed(1)
    with effort.device:
        model = get_model(TINY[name] if effort.tiny else name)
    model.to(dtype=precision.weights)
    layout = torch.channels_last if mode.channels_last and len(model.input_shape) == 3 else torch.contiguous_format
    if layout == torch.channels_last:
        model.to(memory_format=layout)  # type: ignore[call-overload]
    batches = synthetic_batches(model, batch, device=effort.device, dtype=precision.weights, seed=1, layout=layout)
    return _Subject(model, batches, batch, precision)


def hand_written(
    network: nn.Module, loss: Callable[[Any, Any], Any], batch: Any, precision: Precision, train: bool
) -> Callable[[], Any]:
    """A step without our harness, as in PyTorch's examples, and in torchvision's and timm's scripts without logging."""
    inputs, targets = batch
    context = precision.context or nullcontext
    if not train:
        network.eval()

        @torch.inference_mode()
        def infer() -> Any:
            with context():
                return network(inputs)

        return infer
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9, fused=True)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with context():
            result = loss(network(inputs), targets)
        result.backward()
        optimizer.step()
        return result

    return step


def _beside_bare_loop(name: str, mode: Mode, train: bool, effort: Effort) -> Mapping[str, Any]:
    one = _subject(name, mode, train, effort)
    step = training_step(one.model, one.model, one.precision) if train else inference_step(one.model, one.precision)
    flops = count_work(step, next(one.batches), one.model).flops
    if mode.compiled and not effort.tiny:
        from torch._inductor import config

        # The fastest variant of each kernel is chosen anew: the process that filled the cache was not alone on the GPU.
        config.autotune_local_cache = False
        one.model.compile()
    by_hand = hand_written(one.model, one.model.loss, next(one.batches), one.precision, train)
    run = graphed(step, effort.device) if mode.graphs and effort.device.type == "cuda" else step
    found = compare({"ours": ours(run, one.batches, effort.device), "bare": bare(by_hand, effort.device)}, effort)
    seconds = statistics.median(found["ours"])
    return {
        "instances/s": one.batch / seconds,
        "ours / bare": ratio(found, "ours", "bare"),
        "ms": 1000 * seconds,
        "TFLOP/s": flops / seconds / 1e12,
        "of matrix products": flops / seconds / matrix_rate(effort.device, one.precision.arithmetic),
    }


def _beside_rival(name: str, rival: Rival, mode: Mode, train: bool, effort: Effort) -> Mapping[str, Any]:
    package, build = rival
    try:
        library = importlib.import_module(package)
    except ImportError as error:
        raise NotHereError(f"requires the package {package}: {error}") from None
    one = _subject(name, mode, train, effort)
    step = training_step(one.model, one.model, one.precision) if train else inference_step(one.model, one.precision)
    inputs, targets = next(one.batches)
    if effort.tiny:  # tests the code with our model in place of theirs
        other: nn.Module = get_model(TINY[name])
    else:
        other = build(library)
    other = other.to(effort.device, one.precision.weights)
    if inputs.dim() == 4:
        other = other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(output: Any, target: Any) -> Any:
        if hasattr(output, "prediction_logits"):  # BERT, whose loss is that of both tasks
            output = (output.prediction_logits, output.seq_relationship_logits)
        return one.model.loss(getattr(output, "logits", output), target)

    by_hand = hand_written(other, loss, (inputs, targets), one.precision, train)
    found = compare({"ours": ours(step, one.batches, effort.device), package: bare(by_hand, effort.device)}, effort)
    return {
        "ours /s": one.batch / statistics.median(found["ours"]),
        "theirs /s": one.batch / statistics.median(found[package]),
        "ours / theirs": ratio(found, "ours", package),
    }
