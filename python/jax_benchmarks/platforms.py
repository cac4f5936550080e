"""Threads, device and arithmetic of JAX. Threads are set before JAX is imported, because JAX queries the CPUs of the process only once."""

from __future__ import annotations

import os
from typing import Any

from jax_benchmarks.options import JaxOptions
from pytorch_benchmarks.errors import SkippedError, UsageError
from pytorch_benchmarks.program import lacks_memory

__all__ = ["bind_threads", "check_arithmetic", "choose_platform", "gpu_facts", "import_jax", "product_precision"]

_AMPERE = 8.0  # compute capability of the first NVIDIA GPUs that have TF32 and bfloat16


def bind_threads(count: int) -> None:
    """Bind this process to `count` of its CPUs: XLA creates a thread for each CPU it may use and has no option for their number.

    Raises:
        UsageError: The process may use fewer CPUs.
    """
    if not count:
        return
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise UsageError(f"--num_threads {count}: this process may use {len(allowed)} CPUs; reduce --num_threads")
    os.sched_setaffinity(0, allowed[:count])
    os.environ["NPROC"] = str(count)  # overrides XLA's number of threads


def choose_platform(device: str) -> None:
    """Restrict JAX to the requested platform; otherwise the first one that it finds would be its default."""
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"


def import_jax(options: JaxOptions) -> Any:
    """Import JAX with the requested device as its default, and as the only GPU that it opens: it reserves most of the memory of each.

    Returns:
        The device.

    Raises:
        UsageError: JAX cannot be imported, or does not find the device.
        RuntimeError: Other processes use the memory that JAX needs to start on the device.
    """
    try:
        import jax
    except ModuleNotFoundError as error:
        if error.name != "jax":
            raise UsageError(f"JAX cannot be imported ({error}): pip install 'dlbs[jax]'") from None
        raise UsageError("JAX is not installed: pip install 'dlbs[jax]'") from None
    except (ImportError, RuntimeError) as error:  # a RuntimeError if jax and jaxlib have different versions
        raise UsageError(f"JAX cannot be imported ({_line(error)}): pip install 'dlbs[jax]'") from None
    for kind in ("cuda", "rocm"):  # no environment variable sets them
        jax.config.update(f"jax_{kind}_visible_devices", "0")  # the first of those in CUDA_VISIBLE_DEVICES
    device = _device(jax, options.device)
    jax.config.update("jax_default_device", device)
    jax.config.update("jax_default_matmul_precision", product_precision(options.dtype))
    return device


def _device(jax: Any, wanted: str) -> Any:
    try:
        return (jax.devices() if wanted == "auto" else jax.devices(wanted))[0]
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        if wanted == "auto":  # the GPU's plugin is installed, but does not start: JAX would not even use the CPU
            jax.config.update("jax_platforms", "cpu")
            return jax.devices("cpu")[0]
        raise UsageError(
            f"--device {wanted}: JAX {jax.__version__} does not find it on this machine ({_line(error)}); use --device cpu, or install "
            "jax[cuda13] (jax[cuda12] for drivers before 580) instead of jax, and check JAX_PLATFORMS, CUDA_VISIBLE_DEVICES and the "
            "GPU memory that other processes use"
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def product_precision(dtype: str) -> str:
    """JAX's name for the precision of float32 products and convolutions that `--dtype` selects.

    On GPUs JAX rounds their operands to TF32 by default. Here float32 is float32, and `tf32` selects TF32. Other types are not affected.
    """
    return "tensorfloat32" if dtype == "tf32" else "highest"


def check_arithmetic(dtype: str, device: Any) -> None:
    """Skip a type that the device does not have, as PyTorch benchmarks do: XLA would compute in float32, and the log name another type.

    Raises:
        SkippedError: The device does not support the type.
    """
    if device.platform == "cpu":
        if dtype == "tf32":
            raise SkippedError("--dtype tf32: CPUs do not support it; use float32")
        return
    capability = _capability(device)
    if dtype == "tf32" and (capability is None or capability < _AMPERE):
        raise SkippedError(f"--dtype tf32: not supported by {device.device_kind}; use float32")
    if dtype == "bfloat16" and capability is not None and capability < _AMPERE:
        raise SkippedError(f"--dtype bfloat16: not supported by {device.device_kind}; use float32 or float16")


def _capability(device: Any) -> float | None:
    """Compute capability of an NVIDIA GPU; None for others, whose architectures have names such as gfx90a."""
    try:
        return float(getattr(device, "compute_capability", ""))
    except ValueError:
        return None


def gpu_facts(device: Any) -> dict[str, Any]:
    """Facts about a GPU for the log, under `exp.env.`, with the keys of PyTorch benchmarks; unknown ones are None. Nothing for a CPU."""
    if device.platform == "cpu":
        return {}
    return {
        "gpu": device.device_kind,
        "gpu_capability": getattr(device, "compute_capability", None),
        "gpu_multiprocessors": getattr(device, "core_count", None),
    }
