"""Checkpoints: everything that training needs to go on as if it had never stopped."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytorch_benchmarks.errors import UsageError

__all__ = ["load", "save"]


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a file that is either the old one or the whole new one, whatever happens meanwhile.

    Raises:
        UsageError: It cannot be written.
    """
    beside = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as stream:
            torch.save(dict(content), stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        raise UsageError(f"--output_dir: cannot write {path}: {str(error).splitlines()[0]}") from None
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint; code in it is not run.

    Raises:
        UsageError: It is missing, torn, or none.
    """
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"--resume: {path} cannot be read: {reason}") from None
    wanted = {"model", "ema", "optimizer", "scaler", "epoch", "best", "history", "options"}
    if not isinstance(found, dict) or not wanted <= found.keys():
        raise UsageError(f"--resume: {path} is no checkpoint of train.py")
    return found
