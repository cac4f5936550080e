"""What is said when a model cannot be built with the options that were given."""

from __future__ import annotations

import pytest

from pytorch_benchmarks.errors import UnknownModelError, UsageError
from pytorch_benchmarks.model_options import built_with
from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.phases.workload import requested_model


@pytest.mark.parametrize(
    ("model", "model_opts", "said"),
    [
        ("deep_mnist", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("vgg11", {"num_classes": 2, "dropout": 50}, "dropout probability has to be between 0 and 1, but got 50"),
        ("resnet18", {"num_classes": -1}, "negative dimension"),
        ("resnet18", {"norm": "layer"}, "normalise the features of tokens"),
    ],
)
def test_a_value_that_a_builder_rejects_is_an_error_of_the_options(
    model: str, model_opts: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=f"--model_opts do not fit {model}: .*{said}"):
        requested_model(CommonOptions(model=model, model_opts=model_opts))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        MemoryError(),
        FileNotFoundError("a file"),
        UnknownModelError("unknown model"),
    ],
)
def test_other_errors_are_not_those_of_options(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, built_with({"depth": 3}, "m"):
        raise error
    assert caught.value is error


def test_without_options_a_bug_is_a_bug() -> None:
    with pytest.raises(ValueError, match="a bug"), built_with({}, "m"):
        raise ValueError("a bug")
