"""A trial of a model whose batches fail: whether the options that it was built with are the reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.model_options import misfit
from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.program import lacks_connection, lacks_memory
from pytorch_benchmarks.tensors import map_tensors

__all__ = ["tried"]


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
        if _runs(options.model, options.model_opts) or not _runs(options.model, {}):
            raise
        raise misfit(options.model, error, " (without these options, it runs)") from error


def _has_another_cause(error: Exception) -> bool:
    """Whether an error needs no trial, during which NCCL's watchdog would abort a replica that has an error of the device or lost another one."""
    of_device = type(error).__name__ == "AcceleratorError"  # since PyTorch 2.8; those about shapes are of other types
    return isinstance(error, BenchmarkError) or of_device or lacks_memory(error) or lacks_connection(error)


def _runs(model: str, model_opts: Mapping[str, Any]) -> bool:
    """Whether a batch runs on PyTorch's device `meta`, which computes shapes only."""
    generator = torch.Generator().manual_seed(0)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            with torch.device("meta"):
                built = get_model(model, **model_opts).eval()
            batch = built.inputs(2, generator), built.targets(2, generator)
            inputs, targets = map_tensors(lambda tensor: tensor.to("meta"), batch)
            built.loss(built(inputs), targets)
    except Exception:
        return False
    return True
