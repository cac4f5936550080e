"""What the numbers depend on besides the options: versions, processors, clocks, allocator, settings."""

from __future__ import annotations

import os
from typing import Any

import torch

from pytorch_benchmarks.host import host_facts
from pytorch_benchmarks.measure.energy import gpu_facts

__all__ = ["environment", "malloc_setting"]


_KEPT_FROM = 64 << 20  # bytes: glibc itself gives back blocks of 32 MiB and more, whatever it has learnt


def malloc_setting() -> str:
    """`keep` if the C library's allocator is told to keep large blocks that are freed, else `system`, as for most other programs."""
    thresholds = [os.environ.get(name, "") for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")]
    return "keep" if all(value.isdigit() and int(value) >= _KEPT_FROM for value in thresholds) else "system"


def environment(device: torch.device) -> dict[str, Any]:
    """Facts for the log, under `exp.env.`; what cannot be known is None. Frequencies are MHz, memory is bytes."""
    facts: dict[str, Any] = {
        **host_facts(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "threads_interop": torch.get_num_interop_threads(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "cuda": torch.version.cuda,
            "rocm": torch.version.hip,
            "cudnn": torch.backends.cudnn.version(),
            "nccl": ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else None,
            "gpu": properties.name,
            "gpu_memory": properties.total_memory,
            "gpu_capability": f"{properties.major}.{properties.minor}",
            "gpu_multiprocessors": properties.multi_processor_count,
            "driver": None,
            **gpu_facts(device),
        }
    return facts
