"""Page-lock memory that is shared with other processes, so that a GPU copies from it asynchronously."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

__all__ = ["page_locked"]

_PORTABLE = 1  # cudaHostRegisterPortable: page-locked for all contexts


@contextmanager
def page_locked(*tensors: Tensor) -> Iterator[bool]:
    """Page-lock the memory of contiguous host tensors within the block; yields whether it is.

    PyTorch allocates page-locked memory, but not where processes share it. Nothing is page-locked without CUDA or ROCm, and if a limit of the driver
    or the system is exceeded. Copies are correct then as well, but the host waits for them.

    Start processes that share the memory before the block: a driver may hide registered memory from processes forked later.

    Source: cudaHostRegister in the chapter Memory Management of NVIDIA's CUDA Runtime API.
    """
    if not torch.cuda.is_available():
        yield False
        return
    registered: list[int] = []
    try:
        for tensor in tensors:
            if int(torch.cuda.cudart().cudaHostRegister(tensor.data_ptr(), tensor.nbytes, _PORTABLE)) != 0:
                _unregister(registered)
                _clear_error()
                break
            registered.append(tensor.data_ptr())
        yield bool(registered)
    finally:
        _unregister(registered)


def _unregister(registered: list[int]) -> None:
    if registered:
        # Copies of this memory may be running. After a fatal error of the device, which ends them as well, every call fails.
        with suppress(RuntimeError):
            torch.cuda.synchronize()
    while registered:
        torch.cuda.cudart().cudaHostUnregister(registered.pop())


def _clear_error() -> None:
    """Make CUDA forget its last error, which PyTorch would otherwise raise at the next kernel launch."""
    with suppress(RuntimeError):
        torch.zeros(1, device="cuda")
    torch.zeros(1, device="cuda")  # an error that persists has another cause
