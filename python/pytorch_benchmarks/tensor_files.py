"""Files of tensors: weights and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytorch_benchmarks.errors import UsageError

__all__ = ["read", "save"]


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a file that is either the old one or the whole new one, whatever happens meanwhile.

    Raises:
        UsageError: It cannot be written.
    """
    beside = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "wb") as stream:
                torch.save(dict(content), stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        raise UsageError(f"cannot write {path}: {_first_line(error)}") from None


def read(path: Path, device: torch.device) -> Any:
    """Read what `torch.save` wrote: tensors and plain data. Code in the file is not run.

    Raises:
        UsageError: There is no such file, it is torn, or it holds something else.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever comes to the mind of a reader of bytes that mean nothing
        raise UsageError(f"{path} cannot be read as tensors: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
