"""Measurements other than time, each in a separate pass: memory, floating-point operations, a profile. None runs while batches are timed."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.measure.memory import reset_resident_peak, resident_peak

__all__ = ["Work", "count_work", "peak_memory", "write_profile"]

PROFILED_BATCHES = 3

Step = Callable[[Any], Any]


def peak_memory(
    step: Step, batches: Iterator[Any], device: torch.device, synchronize: Callable[[], Any]
) -> dict[str, int | None]:
    """Peak memory of one batch after warm-up, in bytes.

    Returns:
        `memory_host`: resident memory of this process; `memory_device_allocated`: tensors on the device;
        `memory_device_reserved`: device memory reserved by PyTorch's allocator. None where unknown.
    """
    on_device = device.type != "cpu" and hasattr(torch.get_device_module(device), "reset_peak_memory_stats")
    synchronize()
    if on_device:
        torch.get_device_module(device).reset_peak_memory_stats(device)
    reset_resident_peak()
    step(next(batches))
    synchronize()
    memory = torch.get_device_module(device) if on_device else None
    return {
        "memory_host": resident_peak(),
        "memory_device_allocated": memory.max_memory_allocated(device) if memory else None,
        "memory_device_reserved": memory.max_memory_reserved(device) if memory else None,
    }


@dataclass(frozen=True, slots=True)
class Work:
    """Work of one batch on a device.

    Attributes:
        flops: Floating-point operations, counted by torch.utils.flop_counter: a multiplication and an addition are two. Matrix products,
            convolutions and attention are counted; element-wise operations are not.
        bytes: Bytes of the tensors that operations read and write, each operation separately. Fused kernels and caches move less.
    """

    flops: int
    bytes: int


class _Traffic(TorchDispatchMode):
    """Counts bytes of tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def count_work(step: Step, batch: Any, model: nn.Module | None) -> Work:
    """Count the work of one batch.

    Args:
        step: Does the work of one batch.
        batch: Input of the step.
        model: The model that runs; None if there is none.
    """
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled; importing it takes two seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if model is not None and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            # The counter does not know the fused kernels of recurrent layers; without them it counts matrix products.
            with warnings.catch_warnings():  # about settings of other devices, which these contexts save too
                warnings.simplefilter("ignore", UserWarning)
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        traffic = stack.enter_context(_Traffic())
        counter = stack.enter_context(FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU))
        step(batch)
    return Work(int(counter.get_total_flops()), traffic.bytes)


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, q, k, v))


_ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def write_profile(path: str | None, step: Step, batches: Iterator[Any], device: torch.device) -> None:
    """Write a trace of three batches for chrome://tracing or Perfetto; without a path they run anyway, since replicas wait for each other.

    Raises:
        UsageError: The file cannot be written.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its messages would go to stderr
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if device.type in {"cuda", "xpu"}:
        activities.append(ProfilerActivity[device.type.upper()])
    with profile(activities=activities, record_shapes=True) as profiler:
        for _ in range(PROFILED_BATCHES):
            step(next(batches))
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
    if path is None:
        return
    beside = f"{path}.part{os.getpid()}.json"
    try:
        profiler.export_chrome_trace(beside)
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--profile: cannot write {path}: {error}") from None
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
