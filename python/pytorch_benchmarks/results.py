"""Facts and results that PyTorch adds to a benchmark: times of all replicas, and passes for memory, operations and a profile."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmark_core.doubts import warning
from benchmark_core.exits import UsageError
from benchmark_core.facts import malloc_setting, reset_resident_peak, resident_peak
from benchmark_core.gpus import Energy
from benchmark_core.log import Log
from benchmark_core.measure import About, Subject
from benchmark_core.timing import Timing
from pytorch_benchmarks.devices import Precision, World, device_facts, device_title, event_maker, gpu_of, synchronizer
from pytorch_benchmarks.distributed import largest, mean, slowest
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.workload import Workload

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
PROFILED_BATCHES = 3
Step = Callable[[Any], Any]


def about(model: Model, device: torch.device, data: str) -> About:
    """A model on a device, for reports."""
    return About(
        framework="PyTorch",
        version=torch.__version__,
        title=model.title,
        unit=model.unit,
        parameters=model.num_parameters(),
        device=device_title(device),
        data=data,
        environment=device_facts(device),
        files=[model.weights_file],
    )


def subject_of(
    options: BenchmarkOptions, workload: Workload, world: World, device: torch.device, settings: Mapping[str, Any]
) -> Subject:
    """The workload, on the device and in the processes that it runs in."""

    def metrics(timing: Timing, times: Sequence[float]) -> dict[str, object]:
        found: dict[str, object] = dict(workload.metrics(len(times), world.size))
        if device.type == "cpu":
            found["results.malloc"] = malloc_setting()
        if options.compile and len(timing.warmup):
            found["results.time_compile"] = 1000.0 * max(0.0, timing.first - median(times))
        return found

    return Subject(
        about=about(workload.model, device, workload.source.title),
        phase=workload.phase,
        step=workload.step,
        batches=workload.source.batches,
        synchronize=synchronizer(device),
        build_seconds=workload.build_seconds,
        settings={**settings, **workload.source.facts},
        make_event=event_maker(device),
        energy=Energy(gpu_of(device)),
        metrics=metrics,
        replicas=world.size,
        agree=lambda number: largest(number, world, device),
        mean=lambda number: mean(number, world, device),
        slowest=lambda times: slowest(times, world, device),
    )


def log_passes(
    log: Log, options: BenchmarkOptions, workload: Workload, device: torch.device, precision: Precision
) -> None:
    """Log memory, operations and a profile, each measured now, on separate batches, after the timed ones.

    A failure is a warning: the times are already measured and unaffected.
    """
    batches = workload.source.batches
    if "memory" in options.passes:
        with _reported(log, "memory not measured"):
            log.many(peak_memory(workload.step, batches, device, synchronizer(device)), "results.")
    if "flops" in options.passes and workload.phase != "ingestion":
        with _reported(log, "operations not counted"):
            work = count_work(workload.eager_step, next(batches), workload.model)
            achieved = work.flops / (log.values["results.time"] / 1000)
            log("results.flops_per_batch", work.flops)
            log("results.bytes_per_batch", work.bytes)
            log("results.flops", achieved)
            peak = options.peak_tflops or peak_tflops(log.values["exp.device_title"], precision.arithmetic)
            log("results.mfu", achieved / (1e12 * peak) if peak else None)
    if options.profile:
        with _reported(log, "profile not written"):
            write_profile(options.profile if log.reports else None, workload.step, batches, device)


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


def peak_memory(
    step: Step, batches: Iterator[Any], device: torch.device, synchronize: Callable[[], Any]
) -> dict[str, int | None]:
    """Peak memory of one batch after warm-up, in bytes.

    Returns:
        `memory_host`: resident memory of this process; `memory_device_allocated`: tensors on the device;
        `memory_device_reserved`: device memory reserved by PyTorch's allocator. None where unknown.
    """
    on_device = device.type != "cpu" and hasattr(torch.get_device_module(device), "reset_peak_memory_stats")
    synchronize()
    if on_device:
        torch.get_device_module(device).reset_peak_memory_stats(device)
    reset_resident_peak()
    step(next(batches))
    synchronize()
    memory = torch.get_device_module(device) if on_device else None
    return {
        "memory_host": resident_peak(),
        "memory_device_allocated": memory.max_memory_allocated(device) if memory else None,
        "memory_device_reserved": memory.max_memory_reserved(device) if memory else None,
    }


@dataclass(frozen=True, slots=True)
class Work:
    """Work of one batch on a device.

    Attributes:
        flops: Floating-point operations, counted by torch.utils.flop_counter: a multiplication and an addition are two. Matrix products,
            convolutions and attention are counted; element-wise operations are not.
        bytes: Bytes of the tensors that operations read and write, each operation separately. Fused kernels and caches move less.
    """

    flops: int
    bytes: int


class _Traffic(TorchDispatchMode):
    """Counts bytes of tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def count_work(step: Step, batch: Any, model: nn.Module | None) -> Work:
    """Count the work of one batch.

    Args:
        step: Does the work of one batch.
        batch: Input of the step.
        model: The model that runs; None if there is none.
    """
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled; importing it takes two seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if model is not None and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            # The counter does not know the fused kernels of recurrent layers; without them it counts matrix products.
            with warnings.catch_warnings():  # about settings of other devices, which these contexts save too
                warnings.simplefilter("ignore", UserWarning)
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        traffic = stack.enter_context(_Traffic())
        counter = stack.enter_context(FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU))
        step(batch)
    return Work(int(counter.get_total_flops()), traffic.bytes)


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, q, k, v))


_ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def write_profile(path: str | None, step: Step, batches: Iterator[Any], device: torch.device) -> None:
    """Write a trace of three batches for chrome://tracing or Perfetto; without a path they run anyway, since replicas wait for each other.

    Raises:
        UsageError: The file cannot be written.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its messages would go to stderr
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if device.type in {"cuda", "xpu"}:
        activities.append(ProfilerActivity[device.type.upper()])
    with profile(activities=activities, record_shapes=True) as profiler:
        for _ in range(PROFILED_BATCHES):
            step(next(batches))
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
    if path is None:
        return
    beside = f"{path}.part{os.getpid()}.json"
    try:
        profiler.export_chrome_trace(beside)
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--profile: cannot write {path}: {error}") from None
    finally:
        if os.path.exists(beside):
            os.unlink(beside)


@contextmanager
def _reported(log: Log, what: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise  # an invalid option, which would fail in another run too
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        log.warn(warning(what, reason[:200]))
