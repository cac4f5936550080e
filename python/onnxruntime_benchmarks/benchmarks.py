"""Benchmark a model with ONNX Runtime: warm up, time batches, print the results.

    python benchmarks.py --model resnet18
    python benchmarks.py --model bert_base --batch_size 8 --dtype int8 --num_threads 4
    python benchmarks.py --model_file mine.onnx --batch_size 1 --provider cuda

Results are printed as `__key__= json` lines; times are milliseconds, throughput is instances per second.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script, from any directory
    sys.path[0] = str(Path(__file__).absolute().parents[1])

import itertools
from collections.abc import Sequence
from time import perf_counter

from benchmark_core.crash import guarded
from benchmark_core.doubts import warning
from benchmark_core.exits import SkippedError, UsageError
from benchmark_core.log import Log
from benchmark_core.program import end, run
from onnxruntime_benchmarks.options import OnnxOptions, parse_onnx_options

_STARTED = perf_counter()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and return the exit code of `program.run`."""
    options, log = parse_onnx_options(arguments), Log()
    return run(lambda: _benchmark(options, log), options, log)


def _check(options: OnnxOptions) -> None:
    """Skip options that ONNX Runtime does not support: the same plan may run them on other frameworks."""
    if options.data_loader_only:
        raise SkippedError("ingestion is not supported, inputs are synthetic: use exp.phase=inference")
    if not options.forward_only:
        raise SkippedError("ONNX Runtime supports only inference: use exp.phase=inference (--forward_only true)")
    if options.dtype == "bfloat16":
        raise SkippedError("--dtype bfloat16: ONNX Runtime does not support it; use float32, float16 or int8")
    if options.dtype == "tf32" and options.provider == "cpu":
        raise SkippedError("--dtype tf32: CPUs do not support it; use float32")
    if options.dtype == "int8" and options.provider == "cuda":
        raise SkippedError("--dtype int8: dynamically quantised operations run only on CPUs; use --provider cpu")
    if options.num_replicas > 1:
        raise UsageError(
            f"--num_replicas {options.num_replicas}: ONNX Runtime runs one replica on one device; use one GPU"
        )
    if options.model_file and not Path(options.model_file).is_file():
        raise UsageError(f"--model_file: {options.model_file} does not exist")
    if options.model_file and options.dtype not in {"float", "float32", "tf32"}:
        raise UsageError(
            f"--dtype {options.dtype}: --model_file runs unconverted; omit --dtype, and convert the file beforehand"
        )


def _benchmark(options: OnnxOptions, log: Log) -> None:
    _check(options)
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UsageError("ONNX Runtime is not installed: pip install 'dlbs[onnxruntime]'") from None
    from benchmark_core.facts import cpu_title
    from benchmark_core.gpus import nvidia_title
    from benchmark_core.measure import About, Subject, benchmark, log_memory
    from benchmark_core.timing import Schedule
    from onnxruntime_benchmarks.exported import cached_model
    from onnxruntime_benchmarks.session import check_provider, described, open_session, random_inputs, running

    check_provider(options.provider)
    arrived = perf_counter()
    file = Path(options.model_file) if options.model_file else cached_model(options)
    begin = perf_counter()
    started = _STARTED + begin - arrived  # the time to the first batch excludes the export, which is done once
    session = open_session(file, options)
    model = described(session, file, options.model)
    run = running(
        session, random_inputs(session, options.batch_size, options.seed, dict(model.bounds)), options.provider
    )
    if options.dtype == "float16" and options.provider == "cpu":
        log.warn(
            warning(
                "slow data type", "ONNX Runtime converts float16 to float32 and back", "use float32 or int8 (exp.dtype)"
            )
        )
    subject = Subject(
        about=About(
            framework="ONNX Runtime",
            version=onnxruntime.__version__,
            title=model.title,
            unit=model.unit,
            parameters=model.parameters,
            device=nvidia_title() if options.provider == "cuda" else cpu_title(),
            environment={"onnxruntime": onnxruntime.__version__, "onnx_exporter": model.exporter or None},
        ),
        phase="inference",
        step=run.step,
        batches=itertools.repeat(None),
        synchronize=run.synchronize,
        build_seconds=perf_counter() - begin,
        settings={
            "precision": "int8 weights, dynamic quantisation" if options.dtype == "int8" else options.dtype,
            "provider": session.get_providers()[0],
            "graph_optimization_level": options.graph_optimization_level,
            "num_threads": options.num_threads,
            "inter_threads": options.inter_threads,
        },
    )
    schedule = Schedule(options.num_batches, options.num_warmup_batches, options.min_time)
    benchmark(subject, options, schedule, log, started)
    log_memory(log, subject)


if __name__ == "__main__":
    end(guarded(main))
