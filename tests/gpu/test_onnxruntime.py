"""ONNX Runtime on a GPU: the CUDA execution provider computes what the CPU does, and is measured like PyTorch.

Needs the package onnxruntime-gpu in the place of onnxruntime, and onnxscript.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark_core.exits import UsageError
from benchmark_core.timing import Schedule, time_batches
from dlbs.core.logs import parse_line
from tests.conftest import ROOT, RunDlbs
from tests.experiments import logs, values

pytestmark = [pytest.mark.integration, pytest.mark.gpu]

PROGRAM = ROOT / "python" / "onnxruntime_benchmarks" / "benchmarks.py"
FEW = ("--model=deep_mnist", "--batch_size=4", "--num_batches=5", "--num_warmup_batches=1")
# By how much outputs may differ, of the largest: float16 has 11 bits, tf32 as well.
WITHIN = {"float32": 1e-4, "tf32": 5e-3, "float16": 5e-3}
Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _provider(cuda: torch.device) -> None:
    for package in ("onnxruntime", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs GPU: {package} is not installed")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs GPU: this ONNX Runtime is built without CUDA (the package onnxruntime-gpu has it)")
    if problem := _problem():
        pytest.skip(f"needs GPU: {problem}")


@functools.cache
def _problem() -> str:
    """Why the CUDA provider does not start, for example because it is built for another version of CUDA; empty if it does."""
    from onnx import TensorProto, helper, save

    from onnxruntime_benchmarks.options import OnnxOptions
    from onnxruntime_benchmarks.session import open_session

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "smallest", [x], [y])
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "smallest.onnx")
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
        try:
            open_session(file, OnnxOptions(provider="cuda"))
        except UsageError as error:
            return str(error)
    return ""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Run the program with the CUDA provider."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROGRAM), *FEW, "--provider=cuda", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def results(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(filter(None, map(parse_line, done.stdout.splitlines())))


@pytest.mark.parametrize("dtype", WITHIN)
def test_the_gpu_computes_what_the_cpu_does(tmp_path: Path, dtype: str) -> None:
    import numpy as np

    from onnxruntime_benchmarks.export import ExportOptions, export
    from onnxruntime_benchmarks.options import OnnxOptions
    from onnxruntime_benchmarks.session import open_session, random_inputs, running

    file = tmp_path / "model.onnx"
    stored = "float16" if dtype == "float16" else "float32"
    export(ExportOptions(model="deep_mnist", out=str(file), batch_size=4, dtype=stored))
    outputs = {}
    for provider, kind in (("cpu", "float32"), ("cuda", dtype)):
        session = open_session(file, OnnxOptions(provider=provider, dtype=kind))
        run = running(session, random_inputs(session, 4, 0, {}), provider)
        run.step(None)
        run.synchronize()
        (outputs[provider],) = run.outputs()
    largest = np.abs(outputs["cpu"]).max()
    assert np.abs(outputs["cpu"] - outputs["cuda"]).max() <= WITHIN[dtype] * largest


@pytest.mark.parametrize("dtype", WITHIN)
def test_it_is_measured_on_the_gpu(bench: Bench, dtype: str) -> None:
    done = bench(f"--dtype={dtype}")
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert found["results.provider"] == "CUDAExecutionProvider"
    assert found["exp.device_title"] == torch.cuda.get_device_name(0)
    assert len(found["results.time_data"]) == 5
    assert found["results.throughput"] > 0


@pytest.mark.alone
def test_twice_the_work_takes_twice_the_time(tmp_path: Path, figures: dict[str, Any]) -> None:
    """A batch is timed until its outputs are there: a chain of products twice as long takes twice as long."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    from onnxruntime_benchmarks.options import OnnxOptions
    from onnxruntime_benchmarks.session import open_session, random_inputs, running

    size = 4096
    weight = np.random.default_rng(1).standard_normal((size, size), dtype=np.float32) / size**0.5
    shape = [size, size]
    seconds = {}
    for products in (10, 20):
        names = ["x", *(f"x{number}" for number in range(products - 1)), "y"]
        graph = helper.make_graph(
            [helper.make_node("MatMul", [x, "weight"], [y]) for x, y in itertools.pairwise(names)],
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(weight, "weight")],
        )
        file = tmp_path / f"{products}.onnx"
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
        session = open_session(file, OnnxOptions(provider="cuda"))
        run = running(session, random_inputs(session, size, 0, {}), "cuda")
        timing = time_batches(run.step, itertools.repeat(None), Schedule(10, 3), synchronize=run.synchronize)
        seconds[products] = statistics.median(timing.batches)
    figures.update({"ms": 1000 * seconds[10], "ratio": seconds[20] / seconds[10]})
    assert seconds[20] / seconds[10] == pytest.approx(2, rel=0.1)


@pytest.mark.alone
def test_a_batch_that_does_not_fit_is_exit_code_3(bench: Bench, cuda: torch.device) -> None:
    """One and a half gigabytes are left, of which a process needs a third; the outputs of the first two layers take two."""
    held = []
    left, step = 1536 << 20, 64 << 20
    while (free := torch.cuda.mem_get_info(cuda)[0]) > left + step:
        held.append(torch.empty(min(free - left, 4 << 30) // step * step, dtype=torch.uint8, device=cuda))
    done = bench("--batch_size=100000")
    held.clear()
    assert done.returncode == 3, done.stderr
    assert "out of memory" in done.stderr


def test_int8_is_skipped_on_the_gpu(bench: Bench) -> None:
    done = bench("--dtype=int8")
    assert done.returncode == 77
    assert "dynamically quantised operations run only on CPUs" in done.stderr


def test_a_gpu_that_cannot_be_used_is_one_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = bench()
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: --provider cuda: ONNX Runtime cannot start it")
    assert "Traceback" not in done.stderr


def test_a_plan_compares_it_with_pytorch(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = ["-Pexp.model=deep_mnist", "-Pexp.phase=inference", "-Pexp.num_batches=5", "-Pexp.docker=false"]
    dlbs("run", *flags, "-Pexp.gpus=0", "-Vexp.framework=[pytorch,onnxruntime]", check=True)
    found = {one["exp.framework"]: one for one in map(values, logs(tmp_path))}
    assert found.keys() == {"pytorch", "onnxruntime"}
    assert found["onnxruntime"]["results.provider"] == "CUDAExecutionProvider"
    same = ("exp.device_title", "exp.model_title", "results.model_parameters")
    assert len({tuple(one[key] for key in same) for one in found.values()}) == 1
