"""Choose the device, and what has to be known about it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import torch

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.options import Options

__all__ = ["device_title", "dtype_of", "select_device", "set_backends", "synchronizer"]

_DTYPES = {
    "float": torch.float32,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def select_device(options: Options) -> torch.device:
    """The device that the options ask for.

    Raises:
        UsageError: There is no such device, or more GPUs are wanted than there are.
    """
    count = torch.cuda.device_count()
    if options.device == "cpu" or (options.device == "auto" and (count == 0 or options.num_gpus == 0)):
        return torch.device("cpu")
    if count == 0:
        raise UsageError(
            "no GPU is available to PyTorch: use --device cpu, or check CUDA_VISIBLE_DEVICES and the driver"
        )
    if options.num_gpus == 0:
        raise UsageError("--device gpu with --num_gpus 0: give a number of GPUs, or use --device cpu")
    if options.num_gpus > count:
        raise UsageError(f"--num_gpus {options.num_gpus}, but PyTorch sees {count}: check CUDA_VISIBLE_DEVICES")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def dtype_of(options: Options) -> torch.dtype:
    return _DTYPES[options.dtype]


def synchronizer(device: torch.device) -> Callable[[], Any]:
    """A function that waits until the device has finished."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None  # a CPU step has finished when it returns


def device_title(device: torch.device) -> str:
    """Marketing name of the processor that computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def set_backends(options: Options) -> dict[str, Any]:
    """Set threads, determinism and cuDNN up as asked; return what is in force, for the log.

    `cudnn_fastest` was a mode of Torch 7: take the fastest algorithm whatever memory it needs. PyTorch has no such switch. The
    nearest is to let the tuner of `cudnn_benchmark` try every algorithm instead of ten.
    """
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    if options.deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # cuBLAS is deterministic with a fixed workspace only
        torch.use_deterministic_algorithms(True)
    # The tuner may choose another algorithm in the next run.
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
