"""JAX on a GPU: it computes what it does on a CPU, float32 is float32, times and memory are those of the work, and errors are one line.

Needs the packages jax and jax-cuda13-plugin (or jax-cuda12-plugin): `pip install jax[cuda13]`. JAX is imported by the tests, not by this module.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark_core.timing import Schedule, time_batches
from dlbs.core.logs import parse_line
from tests.conftest import ROOT, RunDlbs
from tests.experiments import logs, values
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

PROGRAM = ROOT / "python" / "jax_benchmarks" / "benchmarks.py"
FEW = ("--model=deep_mnist", "--batch_size=4", "--num_batches=5", "--num_warmup_batches=1")
NAMES = ("deep_mnist", "gpt2_small", "resnet18")
OPTIONS: dict[str, dict[str, Any]] = {"resnet18": {"num_classes": 10}, "gpt2_small": {"sequence_length": 16}}
BATCH, STEPS = 4, 12
# By how much outputs may differ, beside their size.
WITHIN = {"float32": 1e-4, "bfloat16": 0.1}
# The allocator holds memory as it is needed: PyTorch and other processes use this GPU, too.
SHARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
MB = 1 << 20


@functools.cache
def _found(kind: str) -> tuple[Any, str]:
    """JAX's device of a kind, and why there is none."""
    if importlib.util.find_spec("jax") is None:
        return None, "jax is not installed"
    before = {name: os.environ.get(name) for name in SHARING}
    os.environ.update(SHARING)
    try:
        import jax

        return jax.devices(kind)[0], ""
    except (ImportError, RuntimeError) as error:
        return None, f"JAX {metadata.version('jax')} finds no {kind} ({' '.join(str(error).split())[:200]})"
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def device_of(kind: str) -> Any:
    device, problem = _found(kind)
    if problem:
        pytest.skip(f"needs GPU: {problem}" if kind == "gpu" else problem)
    return device


@pytest.fixture
def gpu() -> Any:
    """JAX's first GPU."""
    return device_of("gpu")


KINDS = [
    ("cpu", "deep_mnist"),
    *(pytest.param("gpu", name, marks=pytest.mark.gpu) for name in NAMES),
]


@contextmanager
def settings(device: Any, dtype: str = "float32") -> Iterator[None]:
    """The settings of the program for one test."""
    import jax

    from jax_benchmarks.benchmarks import product_precision

    with jax.default_device(device), jax.default_matmul_precision(product_precision(dtype)):
        yield


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the equal blocks of GPT-2, and two of the four stages of ResNet: what is left out takes XLA most of the time."""
    pytest.importorskip("jax", reason="jax is not installed")
    from jax_benchmarks.models import gpt2, resnet

    monkeypatch.setattr(gpt2, "_DEPTH", 2)
    monkeypatch.setattr(gpt2, "_VOCABULARY", 1000)
    monkeypatch.setattr(resnet, "_STAGES", resnet._STAGES[:2])


def outputs(name: str, device: Any, dtype: str) -> Any:
    """What a model with seeded weights gives on a device, in float64."""
    import jax.numpy as jnp

    from jax_benchmarks.models.model import get_model, initial
    from jax_benchmarks.steps import Inference

    with settings(device, dtype):
        model = get_model(name, **OPTIONS.get(name, {}))
        batch = model.batch(BATCH, 1, jnp.dtype(dtype))
        found = Inference(model, *initial(model, 1, jnp.dtype(dtype)), batch)(batch)
        assert found.devices() == {device}
        assert found.dtype == jnp.dtype(dtype)
        return np.asarray(found.astype(jnp.float32), dtype=np.float64)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_it_infers_what_it_infers_on_a_cpu(kind: str, name: str, figures: dict[str, Any]) -> None:
    device, cpu = device_of(kind), device_of("cpu")
    expected = outputs(name, cpu, "float32")
    for dtype, tolerance in WITHIN.items():
        error = np.linalg.norm(outputs(name, device, dtype) - expected) / np.linalg.norm(expected)
        figures[f"error in {dtype}"] = float(error)
        assert error < tolerance


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_it_learns(kind: str, name: str, figures: dict[str, Any]) -> None:
    import jax.numpy as jnp

    from jax_benchmarks.models.model import get_model, initial
    from jax_benchmarks.steps import Training, peak_memory

    device = device_of(kind)
    with settings(device):
        model = get_model(name, **OPTIONS.get(name, {}))
        batch = model.batch(BATCH, 1, jnp.float32)
        step = Training(model, *initial(model, 1, jnp.float32), batch)
        losses = [float(step(batch)) for _ in range(STEPS)]
        assert losses[-1] < losses[0], losses
        assert all(weights.devices() == {device} for weights in step.state[0].values())
        peak = peak_memory(step, device)
    assert (peak is None) == (device.platform == "cpu")
    if peak is not None:  # weights, momenta, and some gradients
        stats, weights = device.memory_stats(), 4 * model.num_parameters()
        figures.update({"peak MB": peak / MB, "of JAX MB": stats["peak_bytes_in_use"] / MB, "weights MB": weights / MB})
        assert 2 * weights < peak <= stats["peak_bytes_in_use"]


@pytest.mark.gpu
def test_float32_is_float32_and_tf32_is_tf32(gpu: Any, figures: dict[str, Any]) -> None:
    """The error of the products of a matrix and of a convolution: float32 has 24 bits, TF32 has 11."""
    import jax
    import jax.numpy as jnp

    random = np.random.default_rng(1)
    left, right = (random.standard_normal((512, 512), dtype=np.float32) for _ in range(2))
    images, weights = left.reshape(4, 16, 16, 256), right[:256, :256].reshape(1, 1, 256, 256)

    def convolved(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    cases = {
        "product": (jnp.matmul, (left, right), left.astype(np.float64) @ right.astype(np.float64)),
        "convolution": (convolved, (images, weights), images.astype(np.float64) @ weights[0, 0].astype(np.float64)),
    }
    for name, (function, arguments, exact) in cases.items():
        for dtype in ("float32", "tf32"):
            with settings(gpu, dtype):
                found = np.asarray(jax.jit(function)(*map(jnp.asarray, arguments)), dtype=np.float64)
            figures[f"{name} in {dtype}"] = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
        assert figures[f"{name} in float32"] < 1e-5
    if float(gpu.compute_capability) >= 8.0:
        assert figures["product in tf32"] > 5e-5


@pytest.mark.alone
@pytest.mark.gpu
def test_twice_the_work_takes_twice_the_time(gpu: Any, figures: dict[str, Any]) -> None:
    """A step whose time were taken before it is done would take as long whatever it does."""
    import jax.numpy as jnp

    from jax_benchmarks.models.model import Model
    from jax_benchmarks.steps import Inference

    size = 4096
    random = np.random.default_rng(1)

    def chain(products: int) -> tuple[float, float]:
        """Median seconds of a batch, and seconds of all batches beside those of twice as many."""

        def apply(own: dict[str, Any], buffers: dict[str, Any], x: Any, _: bool) -> tuple[Any, dict[str, Any]]:
            for _number in range(products):
                x = x @ own["weight"]
            return x, buffers

        model = Model("chain", "rows", (size,), 2, {"weight": (size, size)}, apply)
        weight = random.standard_normal((size, size), dtype=np.float32) / size**0.5
        batch = model.batch(size, 1, jnp.float32)
        step = Inference(model, {"weight": jnp.asarray(weight)}, {}, batch)
        timings = [
            time_batches(step, itertools.repeat(batch), Schedule(count, 3), synchronize=step.synchronize)
            for count in (10, 20)
        ]
        return statistics.median(timings[0].batches), timings[1].total / timings[0].total

    with settings(gpu):
        (once, batches), (twice, _) = chain(10), chain(20)
    figures.update({"ms": 1000 * once, "ratio": twice / once, "of batches": batches})
    assert twice / once == pytest.approx(2, rel=0.1)
    assert batches == pytest.approx(2, rel=0.1)


Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench(gpu: Any, tmp_path: Path) -> Bench:
    """Run the program on the GPU."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROGRAM), *FEW, "--device=gpu", *arguments]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **SHARING, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    return run


def results(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(filter(None, map(parse_line, done.stdout.splitlines())))


def one_error(done: subprocess.CompletedProcess[str]) -> str:
    """The line of an error; JAX logs others before it."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.gpu
def test_two_processes_share_a_gpu(bench: Bench, tmp_path: Path, gpu: Any) -> None:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), *FEW, "--device=gpu", "--dtype=bfloat16", "--min_time=1"],
        cwd=tmp_path,
        env={**os.environ, **SHARING},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as other:
        done = bench()
        output, _ = other.communicate(timeout=PATIENCE)
    assert (done.returncode, other.returncode) == (0, 0), done.stderr + output
    found = results(done)
    assert found["exp.device_title"] == gpu.device_kind
    assert found["results.platform"] == gpu.platform
    assert found["results.time_compile"] > 0
    assert len(found["results.time_data"]) == 5
    assert found["results.memory_device_allocated"] > 4 * found["results.model_parameters"]


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["gpu", "auto"])
def test_a_gpu_that_is_not_there(bench: Bench, device: str) -> None:
    done = bench(f"--device={device}", "--forward_only=true", CUDA_VISIBLE_DEVICES="-1")
    if device == "auto":
        assert done.returncode == 0, done.stderr
        assert results(done)["results.platform"] == "cpu"
    else:
        assert done.returncode == 2, done.stderr
        assert "--device gpu: JAX" in one_error(done)


@pytest.mark.alone
@pytest.mark.gpu
def test_a_batch_that_does_not_fit_is_one_line_and_exit_code_3(bench: Bench) -> None:
    """Of the batch itself; a hundredth of the GPU's memory is left for it."""
    done = bench("--batch_size=500000", "--forward_only=true", XLA_PYTHON_CLIENT_MEM_FRACTION="0.01")
    assert done.returncode == 3, done.stderr
    assert one_error(done).startswith("error: out of memory: deep_mnist with batch size 500000")


@pytest.mark.alone
@pytest.mark.gpu
def test_larger_batches_than_one_that_does_not_fit_are_skipped(gpu: Any, dlbs: RunDlbs, tmp_path: Path) -> None:
    """The outputs of the first layer take gigabytes; a hundredth of the GPU's memory is left for all."""
    limit = '-Pjax.env={"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.01", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}'
    dlbs(
        "run", "-Pexp.framework=jax", "-Pexp.docker=false", "-Pexp.gpus=0", "-Pexp.model=deep_mnist",
        "-Pexp.phase=inference", "-Vexp.replica_batch=[2,200000,300000]", "-Pexp.num_batches=2",
        "-Pexp.num_warmup_batches=1", "-Pexp.log_file=logs/${exp.replica_batch}.log", limit,
    )  # fmt: skip
    ended = {batch: values(tmp_path / f"logs/{batch}.log") for batch in (2, 200000, 300000)}
    assert [one["exp.status"] for one in ended.values()] == ["ok", "failure", "skipped"]
    assert ended[200000]["exp.exit_code"] == 3
    assert "did not fit into memory" in ended[300000]["exp.status_msg"]


@pytest.mark.gpu
def test_a_plan_compares_it_with_pytorch(gpu: Any, cuda: Any, dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = ["-Pexp.model=deep_mnist", "-Pexp.num_batches=5", "-Pexp.docker=false", "-Pexp.gpus=0"]
    sharing = '-Pjax.env={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}'
    dlbs("run", *flags, sharing, "-Vexp.framework=[pytorch,jax]", "-Pexp.phase=training", check=True)
    found = [values(log) for log in logs(tmp_path)]
    assert len(found) == 2
    assert all(one["exp.status"] == "ok" and one["results.memory_device_allocated"] > 0 for one in found)
    same = ("exp.device_title", "exp.env.gpu_capability", "exp.model_title", "results.model_parameters")
    assert len({tuple(one[key] for key in same) for one in found}) == 1
