"""Errors of models about the options that they are built with; without PyTorch, because programs of every framework import this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytorch_benchmarks.errors import BenchmarkError, UsageError
from pytorch_benchmarks.load_errors import first_line
from pytorch_benchmarks.program import lacks_memory

__all__ = ["built_with"]

# Builders do not check the values of their options; these are the errors of layers and of other packages about them.
_OF_VALUES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, ValueError)


@contextmanager
def built_with(model_opts: Mapping[str, Any], model: str) -> Iterator[None]:
    """Build a model inside this context: errors about its options are one about `--model_opts`.

    Raises:
        UsageError: The model does not have one of the options, or rejects its value.
    """
    try:
        yield
    except BenchmarkError:
        raise
    except TypeError as error:
        raise UsageError(f"--model_opts do not fit {model}: {error}") from error
    except _OF_VALUES as error:
        if not model_opts or lacks_memory(error):
            raise
        raise UsageError(f"--model_opts do not fit {model}: {first_line(error)}") from error
