"""Devices: selection, backend settings, precision, synchronisation, copies, and facts."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmark_core.exits import SkippedError, UsageError
from benchmark_core.facts import cpu_title
from benchmark_core.gpus import Gpu, facts_of, find_gpu, open_nvml
from benchmark_core.timing import Marker
from pytorch_benchmarks.options import CommonOptions

_WEIGHTS = {
    "float": torch.float32,
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


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


def map_tensors(function: Callable[..., Any], value: Any, *others: Any) -> Any:
    """Apply a function to each tensor of nested tuples, and to the corresponding tensors of `others`; the structure is kept."""
    if isinstance(value, (tuple, list)):
        return tuple(map_tensors(function, *parts) for parts in zip(value, *others, strict=True))
    return function(value, *others)


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


def event_maker(device: torch.device) -> Callable[[], Marker] | None:
    """Return a function that creates events timed on the device; None if the device has no events: on a CPU, the wall clock suffices."""
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    kind = getattr(module, "Event", None) or getattr(getattr(module, "event", None), "Event", None)
    if kind is None:
        return None

    def make() -> Marker:
        event: Marker = kind(enable_timing=True)
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


@dataclass(frozen=True, slots=True)
class Precision:
    """The precision that the options `dtype` and `amp` select.

    Attributes:
        weights: Type of weights and inputs.
        autocast: Type that torch.autocast computes in where that is safe; None: all arithmetic is in the type of the weights.
        tf32: Whether float32 matrix products and convolutions may round their operands to 10 bits of mantissa.
        device: Type of the device.
    """

    weights: torch.dtype
    autocast: torch.dtype | None
    tf32: bool
    device: str

    @property
    def context(self) -> Callable[[], AbstractContextManager[Any]] | None:
        """A function that creates the context of forward passes; None if they need none."""
        if self.autocast is None:
            return None
        return lambda: torch.autocast(self.device, self.autocast)

    def scaler(self) -> torch.amp.GradScaler | None:
        """A scaler that keeps small float16 gradients from vanishing; other types need none (Micikevicius et al., arXiv:1710.03740)."""
        return torch.amp.GradScaler(self.device) if self.autocast == torch.float16 else None

    @property
    def arithmetic(self) -> str:
        """The type of matrix products: float32, tf32, float16 or bfloat16."""
        return "tf32" if self.tf32 else str(self.autocast or self.weights).removeprefix("torch.")

    def describe(self) -> str:
        """The precision as text."""
        return self.arithmetic if self.autocast is None else f"float32 weights, {self.arithmetic} autocast"


def choose_precision(options: CommonOptions, device: torch.device) -> Precision:
    """The requested precision.

    Raises:
        SkippedError: The device, or PyTorch, does not support it; the message lists the supported types. The same plan may run elsewhere.
        UsageError: `--amp` with a type that autocast does not support.
    """
    able = _able(device)
    dtype = "float32" if options.dtype == "float" else options.dtype
    if dtype == "int8":
        raise SkippedError(
            f"--dtype int8: PyTorch models compute in floating point; use {', '.join(able)}, or exp.framework=onnxruntime"
        )
    if dtype not in able:
        raise SkippedError(f"--dtype {dtype}: not supported by this {device.type} device; use {', '.join(able)}")
    if options.amp:
        if dtype not in {"float16", "bfloat16"}:
            raise UsageError(f"--amp computes in float16 or bfloat16: use one of them as --dtype, not {dtype}")
        return Precision(torch.float32, _WEIGHTS[dtype], False, device.type)
    return Precision(_WEIGHTS[dtype], None, dtype == "tf32", device.type)


def _able(device: torch.device) -> list[str]:
    able = ["float32", "float16", "bfloat16"]
    if device.type == "cuda":
        # Not torch.cuda.is_bf16_supported, which is about the current device.
        is_recent = torch.cuda.get_device_capability(device) >= (8, 0)
        if torch.version.cuda and is_recent:
            able.insert(1, "tf32")
        if not (torch.version.hip or is_recent):
            able.remove("bfloat16")
    return able


def slow_on_this_cpu(precision: Precision) -> bool:
    """Whether this CPU has no instructions for the type, so that values are converted back and forth: 0.03 to 0.4 times as fast."""
    used = precision.autocast or precision.weights
    if precision.device != "cpu" or used == torch.float32:
        return False
    wanted = {"avx512_fp16", "amx_fp16", "fphp"} if used == torch.float16 else {"avx512_bf16", "amx_bf16", "bf16"}
    try:
        with open("/proc/cpuinfo") as stream:
            flags = next((line for line in stream if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    return not wanted & set(flags.split())


@dataclass(frozen=True, slots=True)
class World:
    """The group of processes that work together.

    Attributes:
        rank: Rank of this process, from 0. Rank 0 reports.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1


def device_facts(device: torch.device) -> dict[str, Any]:
    """Facts about PyTorch and the device for the log, under `exp.env.`; unknown ones are None. Frequencies are MHz, memory is bytes."""
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "threads_interop": torch.get_num_interop_threads(),
        **_libraries(),
    }
    if device.type != "cuda":
        return facts
    properties = torch.cuda.get_device_properties(device)
    gpu = gpu_of(device)
    driver = {} if gpu is None else facts_of(gpu)
    if not driver.get("driver"):  # that of the kernel module remains
        driver.pop("driver", None)
    return {
        **facts,
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else None,
        "gpu": properties.name,
        "gpu_memory": properties.total_memory,
        "gpu_capability": f"{properties.major}.{properties.minor}",
        "gpu_multiprocessors": properties.multi_processor_count,
        **driver,
    }


def _libraries() -> dict[str, str]:
    """Libraries and the compiler that PyTorch was built with."""
    try:
        built = torch.__config__.show()
    except RuntimeError:  # a build without the libraries of its device
        return {}
    patterns = {
        "blas": r"BLAS_INFO=(\w+)",
        "mkl": r"Math Kernel Library Version ([\d.]+)",
        "onednn": r"MKL-DNN v([\d.]+)",
        "compiler": r"- ((?:GCC|clang|MSVC)[\w. ]*)",
    }
    return {name: found[1] for name, pattern in patterns.items() if (found := re.search(pattern, built))}


def gpu_of(device: torch.device) -> Gpu | None:
    """The NVML view of a device; None without NVML."""
    if device.type != "cuda" or torch.version.cuda is None:
        return None
    nvml = open_nvml()
    return None if nvml is None else find_gpu(nvml, str(torch.cuda.get_device_properties(device).uuid))
