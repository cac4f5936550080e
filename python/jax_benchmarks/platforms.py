"""Threads and the device that JAX computes with. The first are chosen before JAX is imported, which asks for the CPUs of the process once."""

from __future__ import annotations

import os
from typing import Any

from jax_benchmarks.options import JaxOptions
from pytorch_benchmarks.errors import UsageError

__all__ = ["bind_threads", "choose_platform", "import_jax"]


def bind_threads(count: int) -> None:
    """Bind this process to so many of its CPUs: XLA makes a thread for each CPU that it may use, and has no option for their number.

    Raises:
        UsageError: It may not use as many.
    """
    if not count:
        return
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise UsageError(f"--num_threads {count}: this process may use {len(allowed)} CPUs; use that many or fewer")
    os.sched_setaffinity(0, allowed[:count])
    os.environ["NPROC"] = str(count)  # what XLA makes threads for, if it is set


def choose_platform(device: str) -> None:
    """Let JAX look for no other platform than the one that is wanted: what it finds first would be its default."""
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"


def import_jax(options: JaxOptions) -> Any:
    """JAX, with the device that the options ask for as its default.

    Returns:
        The device.

    Raises:
        UsageError: JAX is not installed, or finds no such device.
    """
    try:
        import jax
    except ModuleNotFoundError:
        raise UsageError("JAX is not installed: pip install 'dlbs[jax]'") from None
    try:
        found = jax.devices() if options.device == "auto" else jax.devices(options.device)
    except RuntimeError as error:
        raise UsageError(
            f"--device {options.device}: JAX {jax.__version__} finds no such device here ({' '.join(str(error).split())[:200]}); "
            "use --device cpu, or install jax[cuda12] in the place of jax"
        ) from None
    jax.config.update("jax_default_device", found[0])
    # On GPUs JAX rounds the factors of float32 products to TF32. Here float32 is float32, and --dtype tf32 asks for the other.
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if options.dtype == "tf32" else "highest")
    return found[0]
