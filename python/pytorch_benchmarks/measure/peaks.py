"""Peak performance of devices, for model FLOPs utilisation (Chowdhery et al., arXiv:2204.02311, appendix B)."""

from __future__ import annotations

import re

__all__ = ["peak_tflops"]

# Dense TFLOP/s from the vendors' data sheets: float32 outside tensor cores, tf32, float16 and bfloat16 with float32 accumulation.
# The first name whose words all occur in the device's title is used, so longer names come first.
_PEAKS: tuple[tuple[str, dict[str, float]], ...] = (
    ("GB200", {"float32": 80.0, "tf32": 1250.0, "float16": 2500.0, "bfloat16": 2500.0}),
    ("B200", {"float32": 75.0, "tf32": 1125.0, "float16": 2250.0, "bfloat16": 2250.0}),
    ("GH200", {"float32": 66.9, "tf32": 494.7, "float16": 989.4, "bfloat16": 989.4}),
    ("H200 NVL", {"float32": 60.0, "tf32": 417.5, "float16": 835.5, "bfloat16": 835.5}),
    ("H200", {"float32": 66.9, "tf32": 494.7, "float16": 989.4, "bfloat16": 989.4}),
    ("H100 PCIe", {"float32": 51.2, "tf32": 378.0, "float16": 756.0, "bfloat16": 756.0}),
    ("H100 NVL", {"float32": 60.0, "tf32": 417.5, "float16": 835.5, "bfloat16": 835.5}),
    ("H100", {"float32": 66.9, "tf32": 494.7, "float16": 989.4, "bfloat16": 989.4}),
    ("A100", {"float32": 19.5, "tf32": 156.0, "float16": 312.0, "bfloat16": 312.0}),
    ("A10G", {"float32": 31.5, "tf32": 35.0, "float16": 70.0, "bfloat16": 70.0}),
    ("A10", {"float32": 31.2, "tf32": 62.5, "float16": 125.0, "bfloat16": 125.0}),
    ("L40S", {"float32": 91.6, "tf32": 183.0, "float16": 362.0, "bfloat16": 362.0}),
    ("L40", {"float32": 90.5, "tf32": 90.5, "float16": 181.0, "bfloat16": 181.0}),
    ("L4", {"float32": 30.3, "tf32": 60.0, "float16": 121.0, "bfloat16": 121.0}),
    ("V100", {"float32": 15.7, "float16": 125.0}),
    ("T4", {"float32": 8.1, "float16": 65.0}),
    ("MI300X", {"float32": 163.4, "tf32": 653.7, "float16": 1307.4, "bfloat16": 1307.4}),
    # A half of the module (AMD's data sheet: 47.9 and 383), because each of its two dies is a device.
    ("MI250X", {"float32": 23.95, "float16": 191.5, "bfloat16": 191.5}),
)


def peak_tflops(device_title: str, dtype: str) -> float | None:
    """Peak of a device in 10¹² operations per second for `float32`, `tf32`, `float16` or `bfloat16`.

    None if unknown, as for a part of a GPU (MIG), whose title is that of the whole GPU followed by `MIG 1g.10gb`.
    """
    words = re.split(r"[^A-Za-z0-9]+", device_title)
    if "MIG" in words:
        return None
    for name, peaks in _PEAKS:
        if set(name.split()) <= set(words):
            return peaks.get(dtype)
    return None
