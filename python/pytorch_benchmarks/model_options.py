"""Errors of models about the options that they are built with; without PyTorch, because programs of every framework import this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytorch_benchmarks.errors import BenchmarkError, UsageError
from pytorch_benchmarks.load_errors import first_line
from pytorch_benchmarks.program import lacks_memory

__all__ = ["built_with", "misfit"]

# Builders do not check the values of their options: layers and other packages raise errors of any other type about them.
_OF_OTHER_CAUSES = (ImportError, MemoryError, OSError)


@contextmanager
def built_with(
    model_opts: Mapping[str, Any], model: str, blamed: Callable[[str], str] = lambda message: ""
) -> Iterator[None]:
    """Build a model inside this context: errors about its options are one about `--model_opts`.

    Args:
        model_opts: The options.
        model: Its name.
        blamed: Returns an addition to an error's message: which of the options is the reason.

    Raises:
        UsageError: The model does not have one of the options, or rejects its value.
    """
    try:
        yield
    except BenchmarkError:
        raise
    except Exception as error:
        is_of_options = isinstance(error, TypeError) or (
            model_opts and not isinstance(error, _OF_OTHER_CAUSES) and not lacks_memory(error)
        )
        if not is_of_options:
            raise
        raise misfit(model, error, blamed(first_line(error))) from error


def misfit(model: str, error: Exception, addition: str = "") -> UsageError:
    """The error about options that an error of a model is due to."""
    return UsageError(f"--model_opts do not fit {model}: {first_line(error)}{addition}")
