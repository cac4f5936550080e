"""Benchmark a JAX model: compile it, warm up, time batches, print the results.

    python benchmarks.py --model resnet18
    python benchmarks.py --model gpt2_small --forward_only true --batch_size 1 --dtype bfloat16 --device gpu

Results are printed as `__key__= json` lines; times are milliseconds, throughput is instances per second.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script, from any directory
    sys.path[0] = str(Path(__file__).absolute().parents[1])

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from time import perf_counter
from typing import Any

from benchmark_core.crash import guarded
from benchmark_core.exits import SkippedError, UsageError
from benchmark_core.facts import cpu_title
from benchmark_core.log import Log
from benchmark_core.measure import About, Subject, benchmark, log_memory
from benchmark_core.options import Parser, SingleOptions, option, whole
from benchmark_core.program import end, lacks_memory, run
from benchmark_core.timing import Schedule

DTYPES = ("float", "float32", "tf32", "float16", "bfloat16", "int8")
DEVICES = ("auto", "cpu", "gpu")
_AMPERE = 8.0  # compute capability of the first NVIDIA GPUs that have TF32 and bfloat16
_STARTED = perf_counter()


@dataclass(frozen=True)
class JaxOptions(SingleOptions):
    """Options of one benchmark. `num_warmup_batches` is None for `auto`."""

    dtype: str = option(
        "float32",
        "Type of weights, inputs and arithmetic; float is float32. float16 in training, and int8, are skipped.",
        choices=DTYPES,
    )
    device: str = option(
        "auto", "Device that computes; auto is the GPU if JAX finds one, or else the CPU.", choices=DEVICES
    )
    num_threads: int = option(
        0, "CPUs that the process is bound to, and thus its compute threads; 0 uses all.", whole(0)
    )


def parse_jax_options(arguments: Sequence[str] | None = None) -> JaxOptions:
    """Parse a command line; an invalid argument prints one line and exits with code 2."""
    parser = Parser(
        JaxOptions,
        prog="benchmarks.py",
        description="Benchmark a JAX model: compile it, warm up, time batches, print results as `__key__= json` lines.",
        example="--model resnet18 --forward_only true --batch_size 32 --dtype bfloat16",
    )
    parsed = parser.parse_args(arguments)
    if not parsed.model:
        parser.error("--model is required, such as --model resnet18")
    return JaxOptions(**vars(parsed))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and return the exit code of `program.run`."""
    options, log = parse_jax_options(arguments), Log()
    return run(lambda: _benchmark(options, log), options, log)


def _check(options: JaxOptions) -> None:
    """Skip options that JAX does not support here: the same plan may run them on other frameworks."""
    if options.data_loader_only:
        raise SkippedError("ingestion is not supported, inputs are synthetic: use exp.phase=inference or training")
    if options.dtype == "int8":
        raise SkippedError("--dtype int8: JAX models compute in floating point; use float32 or bfloat16")
    if options.dtype == "float16" and not options.forward_only:
        raise SkippedError("--dtype float16: training needs gradient scaling; use bfloat16")
    if options.num_replicas > 1:
        raise UsageError(f"--num_replicas {options.num_replicas}: JAX runs one replica on one device; use one GPU")


def _benchmark(options: JaxOptions, log: Log) -> None:
    _check(options)
    bind_threads(options.num_threads)
    choose_platform(options.device)
    device = import_jax(options)
    import jax

    from jax_benchmarks.models.model import get_model, initial
    from jax_benchmarks.steps import Inference, Step, Training, peak_memory

    check_arithmetic(options.dtype, device)
    begin = perf_counter()
    dtype = jax.numpy.dtype("float32" if options.dtype in {"float", "tf32"} else options.dtype)
    model = get_model(options.model, **options.model_opts)
    weights = jax.block_until_ready(initial(model, options.seed, dtype))
    batch = jax.block_until_ready(model.batch(options.batch_size, options.seed, dtype))
    build_seconds = perf_counter() - begin
    kind: Callable[..., Step] = Inference if options.forward_only else Training
    step = kind(model, *weights, batch)

    subject = Subject(
        about=About(
            framework="JAX",
            version=jax.__version__,
            title=model.title,
            unit=model.unit,
            parameters=model.num_parameters(),
            device=cpu_title() if device.platform == "cpu" else device.device_kind,
            environment={
                "jax": jax.__version__,
                "jaxlib": metadata.version("jaxlib"),
                "xla_platform": device.client.platform_version,
                **gpu_facts(device),
            },
        ),
        phase="inference" if options.forward_only else "training",
        step=step,
        batches=itertools.repeat(batch),
        synchronize=step.synchronize,
        build_seconds=build_seconds,
        compile_seconds=step.compile_seconds,
        settings={"precision": options.dtype, "num_threads": options.num_threads, "platform": device.platform},
    )
    schedule = Schedule(options.num_batches, options.num_warmup_batches, options.min_time)
    benchmark(subject, options, schedule, log, _STARTED)
    log_memory(log, subject, lambda: peak_memory(step, device))


def bind_threads(count: int) -> None:
    """Bind this process to `count` of its CPUs, before JAX is imported, which queries them only once: XLA creates a thread for each CPU it may use and has no option for their number.

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


if __name__ == "__main__":
    end(guarded(main))
