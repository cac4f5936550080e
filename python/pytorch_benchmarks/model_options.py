"""Errors of models about the options that they are built with; without PyTorch, because programs of every framework import this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytorch_benchmarks.errors import BenchmarkError, UsageError
from pytorch_benchmarks.load_errors import first_line
from pytorch_benchmarks.program import lacks_memory

__all__ = ["built_with", "misfit"]

# Builders do not check the values of their options: layers and other packages raise errors of any other type about them.
_OF_OTHER_CAUSES = (ImportError, MemoryError, OSError)


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
    except Exception as error:
        if not model_opts or isinstance(error, _OF_OTHER_CAUSES) or lacks_memory(error):
            raise
        raise misfit(model, error) from error


def misfit(model: str, error: Exception, addition: str = "") -> UsageError:
    """The error about options that an error of a model is due to."""
    return UsageError(f"--model_opts do not fit {model}: {first_line(error)}{addition}")
