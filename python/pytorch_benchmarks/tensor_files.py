"""Read and write files of tensors: weights and checkpoints."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.files import open_regular
from pytorch_benchmarks.load_errors import ADVICE, first_line, reason

__all__ = ["is_tensors_by_name", "read", "save"]

_MOST_COPIES = 4  # bytes of tensors per byte of the file: views may overlap a little
_MAX_DEPTH = 50  # levels of dictionaries and lists


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a file atomically: it is always either the complete old or the complete new one.

    Raises:
        UsageError: The file cannot be written.
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
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
        raise UsageError(f"cannot write {path}: {first_line(error)}") from None


def read(path: Path, device: torch.device) -> Any:
    """Read a file of `torch.save`: tensors, in dictionaries and lists, and plain data. Code in the file is not run.

    Nothing larger than the file is allocated: sizes declared in the file are compared with its contents first.

    Raises:
        UsageError: The file does not exist, is truncated, or contains something else.
    """
    try:
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            mapped = stream.read(4) == b"PK\x03\x04"
        if mapped:
            _check_archive(path, size)
        # Mapped, every tensor is a view of the file, so that tensors declared larger than the file cannot be created.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's opinion of an unusual file; real problems raise errors below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        return _Copy(device, _MOST_COPIES * size).of(content)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except Exception as error:  # readers of arbitrary bytes raise all kinds
        raise UsageError(f"{path} cannot be read as tensors: {reason(error)}") from None


def _check_archive(path: Path, size: int) -> None:
    """Reject files that torch.save does not write: compressed entries, which may be much larger than the file, and programs.

    Raises:
        ValueError, zipfile.BadZipFile: The file is rejected.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError(f"it is a TorchScript program, not a file of tensors; {ADVICE}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed, which torch.save does not do")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its entries are larger than the file")


def is_tensors_by_name(content: Any) -> bool:
    """Whether `content` is a state dict: a dictionary of tensors."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


class _Copy:
    """Copies content to a device, if all tensors are ordinary and their total size is within the limit.

    Args:
        device: Target of the tensors.
        limit: Maximum bytes of all tensors.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self.device, self.limit = device, limit
        self._known: dict[Any, Any] = {}  # copied before: a small file can refer to one list a billion times

    def of(self, value: Any, depth: int = 0) -> Any:
        """Copy a value with its containers and tensors.

        Raises:
            ValueError: The value contains something that does not belong in a file of tensors.
        """
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
        if isinstance(value, Tensor):
            return self._tensor(value)
        if not isinstance(value, (dict, list, tuple)):
            return value
        if id(value) not in self._known:
            if isinstance(value, dict):
                copied: Any = {self.of(key, depth + 1): self.of(item, depth + 1) for key, item in value.items()}
            else:
                copied = [self.of(item, depth + 1) for item in value]
                copied = tuple(copied) if isinstance(value, tuple) else copied
            self._known[id(value)] = copied
        return self._known[id(value)]

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.is_nested:
            kind = "quantized" if tensor.is_quantized else f"of the layout {tensor.layout} on {tensor.device}"
            raise ValueError(f"it contains a tensor that is {kind}; only dense tensors are supported")
        view = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
        )
        if view not in self._known:
            self.limit -= tensor.numel() * tensor.itemsize
            if self.limit < 0:
                raise ValueError("its tensors are larger than the file")
            self._known[view] = tensor.detach().to(self.device, copy=True)
        found: Tensor = self._known[view]
        return found
