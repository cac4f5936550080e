"""ONNX Runtime and JAX beside PyTorch: their programs, one plan over all of them, and one table."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.logs import parse_line
from tests.conftest import ROOT, RunDlbs
from tests.forked import ForkServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

# Keys that only PyTorch has: its settings, the memory of its allocator; and doubts, which a run may have or not.
OF_PYTORCH = {
    *("exp.env.torch", "exp.env.threads", "exp.env.threads_interop", "results.compile", "results.cuda_graphs"),
    *("results.cudnn_benchmark", "results.cudnn_benchmark_limit", "results.deterministic", "results.channels_last"),
    *("exp.env.blas", "exp.env.mkl", "exp.env.onednn", "exp.env.compiler"),
    *("results.num_threads", "results.memory_device_reserved", "results.warnings"),
}
FEW = ("--num_batches=4", "--num_warmup_batches=1", "--batch_size=2")


def bench(framework: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program alone, from an empty directory."""
    program = ROOT / "python" / f"{framework}_benchmarks" / "benchmarks.py"
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=directory,
        env={**os.environ, "XDG_CACHE_HOME": str(directory / "cache")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def results(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(pair for pair in map(parse_line, done.stdout.splitlines()) if pair)


@pytest.fixture(scope="module")
def of_pytorch(forked_torch: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Results of PyTorch for deep_mnist on the CPU, with `--forward_only` true or false; measured once each."""
    program = str(ROOT / "python" / "pytorch_benchmarks" / "benchmarks.py")

    @functools.cache
    def measured(forward_only: str) -> dict[str, Any]:
        flags = ("--model=deep_mnist", "--device=cpu", f"--forward_only={forward_only}", "--passes=memory", *FEW)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = forked_torch.run(
            program,
            *flags,
            directory=tmp_path_factory.mktemp("pytorch"),
            environment=environment,
            timeout=PATIENCE,
            check=True,
        )
        return results(done)

    return measured


FLAGS = ("--model=deep_mnist", "--num_threads=1", "--graph_optimization_level=basic", *FEW)


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The directory and the output of a first run, which exports the model; its cache is `cache` in it."""
    directory = tmp_path_factory.mktemp("exporting")
    return directory, bench("onnxruntime", directory, *FLAGS)


def test_onnxruntime_exports_once_and_reports_as_pytorch_does(
    exporting: tuple[Path, subprocess.CompletedProcess[str]], of_pytorch: Callable[[str], dict[str, Any]]
) -> None:
    directory, first = exporting
    again = bench("onnxruntime", directory, *FLAGS)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "exporting deep_mnist to" in first.stdout
    assert "exporting deep_mnist" not in again.stdout
    found = results(again)
    assert len(found["results.time_data"]) == 4
    assert found["results.graph_optimization_level"] == "basic"
    assert found["results.provider"] == "CPUExecutionProvider"
    pytorch = of_pytorch("true")
    for key in ("exp.model_title", "exp.data", "results.unit", "results.model_parameters"):
        assert found[key] == pytorch[key]
    assert pytorch.keys() - found.keys() <= OF_PYTORCH


def test_any_onnx_file_runs(tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((3, 5), dtype=np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "mine.onnx")
    done = bench("onnxruntime", tmp_path, "--model_file=mine.onnx", *FEW)
    assert done.returncode == 0, done.stderr
    assert (results(done)["exp.model_title"], results(done)["results.model_parameters"]) == ("mine", 15)


@pytest.mark.parametrize("forward_only", ["true", "false"])
def test_jax_reports_as_pytorch_does(
    tmp_path: Path, of_pytorch: Callable[[str], dict[str, Any]], forward_only: str
) -> None:
    flags = ("--model=deep_mnist", f"--forward_only={forward_only}", "--device=cpu", *FEW)
    done = bench("jax", tmp_path, *flags, "--num_threads=1")
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert found["results.time_compile"] > 0
    assert found["exp.env.cpu_affinity"].isdigit()
    assert ("results.loss" in found) == (forward_only == "false")
    pytorch = of_pytorch(forward_only)
    for key in ("exp.model_title", "exp.data", "results.unit", "results.model_parameters"):
        assert found[key] == pytorch[key]
    assert pytorch.keys() - found.keys() <= OF_PYTORCH


@pytest.mark.parametrize(
    ("framework", "arguments", "code", "words"),
    [
        ("onnxruntime", ["--model=resnet19"], 2, "did you mean resnet18"),
        ("onnxruntime", ["--model=deep_mnist", "--provider=cuda"], 2, "onnxruntime-gpu"),
        ("onnxruntime", ["--model=deep_mnist", "--forward_only=false"], 77, "only inference"),
        ("onnxruntime", ["--model_file=missing.onnx"], 2, "missing.onnx does not exist"),
        ("onnxruntime", ["--model=deep_mnist", "--num_replicas=2"], 2, "one replica"),
        ("onnxruntime", ["--model=deep_mnist", "--dtype=bfloat16"], 77, "float32, float16 or int8"),
        (
            "jax",
            ["--model=resnet19"],
            2,
            "did you mean resnet18? available models are deep_mnist, gpt2_small, resnet18",
        ),
        ("jax", ["--model=deep_mnist", "--device=gpu"], 2, "does not find it on this machine"),
        ("jax", ["--model=deep_mnist", "--dtype=int8"], 77, "float32 or bfloat16"),
        ("jax", ["--model=deep_mnist", "--data_loader_only"], 77, "ingestion is not supported"),
        ("jax", ["--model=deep_mnist", "--num_threads=9999"], 2, "CPUs; reduce --num_threads"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, framework: str, arguments: list[str], code: int, words: str
) -> None:
    done = bench(framework, tmp_path, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert words in done.stderr
    assert words in results(done)["exp.status_msg"]


@pytest.mark.parametrize(
    ("framework", "module", "words"), [("onnxruntime", "onnxruntime", "dlbs[onnxruntime]"), ("jax", "jax", "dlbs[jax]")]
)
def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, framework: str, module: str, words: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        f"from {framework}_benchmarks.benchmarks import main\nsys.exit(main(['--model=deep_mnist']))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert words in done.stderr


def test_one_plan_and_one_table_compare_three_frameworks(
    exporting: tuple[Path, subprocess.CompletedProcess[str]], dlbs: RunDlbs
) -> None:
    flags = [
        "exp.docker=false",
        "exp.gpus=",
        "exp.model=deep_mnist",
        "exp.num_batches=4",
        "exp.replica_batch=2",
        "exp.phase=inference",
        "pytorch.passes=memory",
    ]
    parameters = [f"-P{flag}" for flag in [*flags, f"onnxruntime.cache_dir={exporting[0] / 'cache' / 'dlbs' / 'onnx'}"]]
    done = dlbs("run", *parameters, "-Vexp.framework=[pytorch,onnxruntime,jax]")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 ok" in done.stdout + done.stderr
    (table,) = json.loads(dlbs("report", "logs", "--format", "json", check=True).stdout)
    assert {row[0] for row in table["rows"]} == {"pytorch", "onnxruntime", "jax"}
