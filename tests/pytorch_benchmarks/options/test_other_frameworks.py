"""Parameters of ONNX Runtime and JAX experiments, and the options of their programs, say the same."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark_core.options import Option, SingleOptions, default_text, options_of
from dlbs.config.load import load_config
from dlbs.plan.build import build
from dlbs.plan.compile import Processor
from jax_benchmarks.benchmarks import JaxOptions, parse_jax_options
from onnxruntime_benchmarks.options import OnnxOptions, parse_onnx_options
from tests.conftest import ROOT

CONFIG = load_config()
ENVIRON = {"DLBS_ROOT": str(ROOT), "DLBS_PYTHON": "python3", "DLBS_VERSION": "0", "HOME": "/home/user"}
KINDS: list[tuple[str, type[SingleOptions]]] = [("onnxruntime", OnnxOptions), ("jax", JaxOptions)]
BY_HAND = {"json", "debug"}
SHARED = [
    (f"{family}.{one.name}", one, known)
    for family, kind in KINDS
    for one, known in options_of(kind)
    if f"{family}.{one.name}" in CONFIG.declarations
]


def experiment_of(framework: str, *flags: str) -> dict[str, Any]:
    config = load_config(parameters=[f"exp.framework={framework}", "exp.gpus=", "exp.docker=false", *flags])
    (experiment,) = Processor(config.declarations, ENVIRON).resolve_all(build(config))
    return dict(experiment)


@pytest.mark.parametrize(("framework", "kind"), KINDS, ids=["onnxruntime", "jax"])
def test_every_option_is_set_by_an_experiment_and_no_other(framework: str, kind: type[SingleOptions]) -> None:
    assert set(experiment_of(framework)[f"{framework}.options"]) == {one.name for one, _ in options_of(kind)} - BY_HAND


@pytest.mark.parametrize(("name", "one", "known"), SHARED, ids=[name for name, _, _ in SHARED])
def test_parameter_and_option_agree(name: str, one: Any, known: Option) -> None:
    parameter = CONFIG.declarations[name]
    if name == "onnxruntime.cache_dir":  # a container needs its path, too
        assert known.help.startswith(parameter.desc.rstrip("."))
        return
    assert parameter.desc == known.help
    assert list(parameter.domain or ()) == list(known.choices)
    assert str(parameter.default).lower() == (default_text(one) or "").lower()


@pytest.mark.parametrize("framework", ["onnxruntime", "jax"])
def test_an_experiment_has_a_model_and_nothing_of_pytorch(framework: str) -> None:
    experiment = experiment_of(framework)
    assert {"exp.model", "exp.phase", "exp.dtype", "exp.replica_batch"} <= experiment.keys()
    families = {name.partition(".")[0] for name in experiment}
    assert framework in families
    assert not families & ({"pytorch", "onnxruntime", "jax", "dummy", "train"} - {framework})


def test_what_a_plan_says_reaches_the_programs() -> None:
    flags = ("exp.model=resnet18", "exp.phase=inference", "exp.replica_batch=4", "exp.num_warmup_batches=auto")
    given = experiment_of("onnxruntime", *flags, "exp.dtype=int8", "onnxruntime.num_threads=3")["onnxruntime.options"]
    onnx = parse_onnx_options([f"--{name}={value}" for name, value in given.items() if value not in ("", {})])
    assert (onnx.model, onnx.forward_only, onnx.batch_size) == ("resnet18", True, 4)
    assert (onnx.dtype, onnx.num_threads, onnx.num_warmup_batches) == ("int8", 3, None)
    assert (onnx.provider, onnx.cache_dir) == ("cpu", "/home/user/.cache/dlbs/onnx")
    given = experiment_of("jax", *flags, "jax.num_threads=1")["jax.options"]
    jax = parse_jax_options([f"--{name}={value}" for name, value in given.items() if value not in ("", {})])
    assert (jax.model, jax.forward_only, jax.device, jax.num_threads) == ("resnet18", True, "cpu", 1)


def test_a_gpu_is_the_cuda_provider_and_the_gpu_of_jax() -> None:
    assert experiment_of("onnxruntime", "exp.gpus=0")["onnxruntime.options"]["provider"] == "cuda"
    assert experiment_of("jax", "exp.gpus=0")["jax.options"]["device"] == "gpu"


def test_a_wrong_option_has_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_onnx_options(["--model=deep_mnist", "--num_thread=2"])
    assert "did you mean --num_threads?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        parse_jax_options([])
    assert "--model is required" in capsys.readouterr().err
