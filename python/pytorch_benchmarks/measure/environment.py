"""Conditions of a run besides the options: versions, CPUs, clocks, allocator, settings."""

from __future__ import annotations

from typing import Any

import torch

from pytorch_benchmarks.host import host_facts
from pytorch_benchmarks.measure.energy import gpu_facts

__all__ = ["environment"]


def environment(device: torch.device) -> dict[str, Any]:
    """Facts for the log, under `exp.env.`; unknown ones are None. Frequencies are MHz, memory is bytes."""
    facts: dict[str, Any] = {
        **host_facts(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "threads_interop": torch.get_num_interop_threads(),
    }
    if device.type == "cuda":
        kernel_driver = facts.get("driver")
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
            **gpu_facts(device),
        }
        facts["driver"] = facts.get("driver") or kernel_driver
    return facts
