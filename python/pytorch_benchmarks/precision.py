"""The precision of weights and arithmetic, and whether a device supports it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from pytorch_benchmarks.errors import SkippedError, UsageError
from pytorch_benchmarks.options.common import CommonOptions

__all__ = ["Precision", "choose_precision", "slow_on_this_cpu"]

_WEIGHTS = {
    "float": torch.float32,
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
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
