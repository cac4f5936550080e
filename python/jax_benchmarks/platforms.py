"""Threads and device of JAX. Threads are set before JAX is imported, because JAX queries the CPUs of the process only once."""

from __future__ import annotations

import os
from typing import Any

from jax_benchmarks.options import JaxOptions
from pytorch_benchmarks.errors import UsageError

__all__ = ["bind_threads", "choose_platform", "import_jax"]


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
    """Import JAX with the requested device as its default.

    Returns:
        The device.

    Raises:
        UsageError: JAX is not installed, or does not find the device.
    """
    try:
        import jax
    except ModuleNotFoundError:
        raise UsageError("JAX is not installed: pip install 'dlbs[jax]'") from None
    try:
        found = jax.devices() if options.device == "auto" else jax.devices(options.device)
    except RuntimeError as error:
        raise UsageError(
            f"--device {options.device}: JAX {jax.__version__} does not find it on this machine ({' '.join(str(error).split())[:200]}); "
            "use --device cpu, or install jax[cuda12] instead of jax"
        ) from None
    jax.config.update("jax_default_device", found[0])
    # On GPUs JAX rounds the operands of float32 matrix products to TF32 by default. Here float32 is float32, and --dtype tf32 selects TF32.
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if options.dtype == "tf32" else "highest")
    return found[0]
