"""Select the device and its backend settings, and query its facts."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.events import Event
from pytorch_benchmarks.host import cpu_title
from pytorch_benchmarks.options.common import CommonOptions

__all__ = [
    "copied_to",
    "copies_page_locked",
    "device_title",
    "event_maker",
    "local_rank",
    "make_current",
    "release_memory",
    "select_device",
    "set_backends",
    "synchronizer",
]


def select_device(options: CommonOptions) -> torch.device:
    """Select the requested device: `gpu` is any type that PyTorch finds (CUDA, ROCm, XPU, MPS).

    Raises:
        UsageError: The device does not exist, or there are fewer devices than requested.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if found else 0
    wanted = options.device
    rank = local_rank(options)
    if wanted == "cpu" or (wanted == "auto" and (options.num_gpus == 0 or (count == 0 and options.num_gpus == 1))):
        return torch.device("cpu")
    if found is None or (wanted not in {"auto", "gpu"} and wanted != found.type):
        there = "only the cpu" if found is None else f"cpu and {found.type}"
        flag = f"--num_gpus {options.num_gpus}" if wanted == "auto" else f"--device {wanted}"
        cpu = f"--device cpu --num_replicas {options.num_gpus}" if wanted == "auto" else "--device cpu"
        raise UsageError(
            f"{flag}: PyTorch {torch.__version__} finds {there} on this machine; {_reason(found)}, or use {cpu}"
        )
    if options.num_gpus == 0:
        raise UsageError(f"--device {wanted} with --num_gpus 0: set the number of GPUs, or use --device cpu")
    if options.num_gpus > count:
        raise UsageError(f"--num_gpus {options.num_gpus}, but PyTorch sees {count}: check CUDA_VISIBLE_DEVICES")
    if options.num_replicas > count:
        raise UsageError(
            f"--num_replicas {options.num_replicas}, but PyTorch sees {count}: each replica needs its own GPU; "
            "check CUDA_VISIBLE_DEVICES"
        )
    if rank >= count:
        raise UsageError(f"process {rank} of this node has no GPU, PyTorch sees {count}: check CUDA_VISIBLE_DEVICES")
    return torch.device(found.type, rank)


def _reason(found: torch.device | None) -> str:
    """The remedy if PyTorch finds `found` instead of the requested device."""
    if found is not None:
        return f"use --device {found.type}"
    built = torch.accelerator.current_accelerator(check_available=False)
    if built is None:
        return "this build of PyTorch supports no GPUs: install another one (https://pytorch.org/get-started/locally/)"
    if torch.version.cuda is not None:
        return f"check CUDA_VISIBLE_DEVICES and whether the driver supports CUDA {torch.version.cuda}, for which PyTorch was built (nvidia-smi)"
    platform_of = "ROCm" if torch.version.hip else built.type
    return f"check the driver and the variables that hide GPUs (PyTorch was built for {platform_of})"


def make_current(device: torch.device) -> None:
    """Make a device the current one of this thread, on which events are recorded and which `cuda` without a number means."""
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index)


def local_rank(options: CommonOptions) -> int:
    """Rank of this process on its node: from torchrun, or from an older launcher with `--local_rank`; 0 without a launcher.

    Raises:
        UsageError: The two differ, or there is no GPU for this rank.
    """
    launcher_rank = os.environ.get("LOCAL_RANK")
    if options.local_rank < 0:
        return int(launcher_rank or 0)
    if launcher_rank is not None and int(launcher_rank) != options.local_rank:
        raise UsageError(
            f"--local_rank {options.local_rank}, but LOCAL_RANK is {launcher_rank}: omit the option, the launcher sets the variable"
        )
    return options.local_rank


def synchronizer(device: torch.device) -> Callable[[], Any]:
    """Return a function that waits until the device has finished."""
    if device.type == "cpu":
        return lambda: None  # a CPU step has finished when it returns
    return lambda: torch.accelerator.synchronize(device)


def copied_to(device: torch.device, numbers: Sequence[Any]) -> Tensor:
    """A tensor of numbers on a device.

    The host does not wait for the copy, if the device copies from page-locked memory: from ordinary memory it would wait until the device has finished all
    earlier work, too.
    """
    if not copies_page_locked(device):
        return torch.tensor(numbers, device=device)
    return torch.tensor(numbers).pin_memory().to(device, non_blocking=True)


def release_memory(device: torch.device) -> None:
    """Return memory of tensors that no longer exist, which PyTorch keeps for later ones, to the device."""
    release = getattr(torch.get_device_module(device), "empty_cache", None)
    if release is not None:
        release()


def event_maker(device: torch.device) -> Callable[[], Event] | None:
    """Return a function that creates events timed on the device; None if the device has no events: on a CPU, the wall clock suffices."""
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    kind = getattr(module, "Event", None) or getattr(getattr(module, "event", None), "Event", None)
    if kind is None:
        return None

    def make() -> Event:
        event: Event = kind(enable_timing=True)
        event.record()  # PyTorch creates the event when it is first recorded: do it now, not between timed batches
        return event

    return make


def copies_page_locked(device: torch.device) -> bool:
    """Whether the device copies from page-locked memory while the host continues.

    MPS shares its memory with the host: a page-locked tensor is one of the device there, which the host cannot use.
    """
    return device.type in {"cuda", "xpu"}


def device_title(device: torch.device) -> str:
    """Marketing name of the device."""
    if device.type == "cpu":
        return cpu_title()
    name = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(name(device)) if name else f"{platform.processor() or platform.machine()} {device.type}"


def set_backends(options: CommonOptions, *, tf32: bool) -> dict[str, Any]:
    """Set threads, determinism and cuDNN as requested; return the effective settings, for the log.

    PyTorch lets convolutions round float32 to TF32 by default. Here float32 is float32, and `--dtype tf32` selects TF32.

    `cudnn_fastest` was a mode of Torch 7: use the fastest algorithm whatever memory it needs. PyTorch has no such switch. The
    closest is to let the autotuner of `cudnn_benchmark` try every algorithm instead of ten.
    """
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    if options.deterministic:
        # cuBLAS is deterministic only with a fixed workspace.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    # The autotuner may choose another algorithm in the next run.
    torch.backends.cudnn.benchmark = options.cudnn_benchmark and not options.deterministic
    if options.cudnn_fastest:
        torch.backends.cudnn.benchmark_limit = 0
    return {
        "num_threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "channels_last": options.channels_last,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_benchmark_limit": torch.backends.cudnn.benchmark_limit,
    }
