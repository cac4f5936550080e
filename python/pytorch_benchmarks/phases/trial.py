"""A trial of a model whose batches fail: whether the options that it was built with are the reason."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.load_errors import first_line
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.model_options import misfit
from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.program import lacks_connection, lacks_memory
from pytorch_benchmarks.tensors import map_tensors

__all__ = ["blamed", "tried"]


@contextmanager
def tried(options: CommonOptions) -> Iterator[None]:
    """Run a model inside this context: an error that its options cause is one about `--model_opts`.

    Builders do not run the model, so values that do not fit each other, such as a patch that is larger than the image, fail in the first
    batch. After an error, the model runs without data, once with its options and once without, so that runs without errors take no longer.

    Raises:
        UsageError: The model runs without the options, but not with them.
    """
    try:
        yield
    except Exception as error:
        if not options.model_opts or _has_another_cause(error):
            raise
        modes = (False,) if getattr(options, "forward_only", False) else (False, True)
        if not any(_runs(options, {}, mode) and not _runs(options, options.model_opts, mode) for mode in modes):
            raise
        addition = blamed(options, first_line(error)) or " (without these options, it runs)"
        raise misfit(options.model, error, addition) from error


def _has_another_cause(error: Exception) -> bool:
    """Whether an error needs no trial, during which NCCL's watchdog would abort a replica that has an error of the device or lost another one."""
    of_device = type(error).__name__ == "AcceleratorError"  # since PyTorch 2.8; those about shapes are of other types
    return isinstance(error, BenchmarkError) or of_device or lacks_memory(error) or lacks_connection(error)


def blamed(options: CommonOptions, message: str) -> str:
    """An addition to an error's message: the options without which the model runs; empty if the message names one of the options, or
    there are none.
    """
    names = options.model_opts
    if any(re.search(rf"\b{re.escape(name)}\b", message) for name in names):
        return ""
    found = [
        name
        for name in names
        if _runs(options, {other: value for other, value in names.items() if other != name}, training=False)
    ]
    return f" (without {' or '.join(found)}, it runs)" if found else ""


def _runs(options: CommonOptions, model_opts: Mapping[str, Any], training: bool) -> bool:
    """Whether a batch runs on PyTorch's device `meta`, which computes shapes only."""
    generator = torch.Generator().manual_seed(0)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            with torch.device("meta"):
                built = get_model(options.model, **model_opts).train(training)
            batch = built.inputs(2, generator), built.targets(2, generator)
            inputs, targets = map_tensors(lambda tensor: tensor.to("meta"), batch)
            built.loss(built(inputs), targets)
    except Exception:
        return False
    return True
