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
from collections.abc import Callable, Sequence
from importlib import metadata
from time import perf_counter

from jax_benchmarks.options import JaxOptions, parse_jax_options
from jax_benchmarks.platforms import bind_threads, check_arithmetic, choose_platform, gpu_facts, import_jax
from pytorch_benchmarks.errors import SkippedError, UsageError
from pytorch_benchmarks.host import cpu_title
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.single import Subject, benchmark
from pytorch_benchmarks.program import end, run
from pytorch_benchmarks.unforeseen import guarded

__all__ = ["main"]

_STARTED = perf_counter()


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
        framework="JAX",
        version=jax.__version__,
        title=model.title,
        unit=model.unit,
        parameters=model.num_parameters(),
        device=cpu_title() if device.platform == "cpu" else device.device_kind,
        phase="inference" if options.forward_only else "training",
        step=step,
        batches=itertools.repeat(batch),
        synchronize=step.synchronize,
        build_seconds=build_seconds,
        compile_seconds=step.compile_seconds,
        environment={
            "jax": jax.__version__,
            "jaxlib": metadata.version("jaxlib"),
            "xla_platform": device.client.platform_version,
            **gpu_facts(device),
        },
        settings={"precision": options.dtype, "num_threads": options.num_threads, "platform": device.platform},
        device_memory=lambda: peak_memory(step, device),
    )
    benchmark(subject, options, log, _STARTED)


if __name__ == "__main__":
    end(guarded(main))
