"""Exported models compute what the PyTorch ones do, and have as many parameters."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark_core.exits import SkippedError, UsageError
from onnxruntime_benchmarks.export import ExportOptions, export
from onnxruntime_benchmarks.exported import Description
from onnxruntime_benchmarks.options import OnnxOptions
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models import gpt2, llama, resnet

pytestmark = pytest.mark.integration

# Models of different kinds: a perceptron, convolutions with batch normalisation, text, a transformer, several inputs.
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("deep_mnist", {}, "float32"),
    ("deep_mnist", {}, "float16"),
    ("deep_mnist", {}, "int8"),
    ("resnet18", {"num_classes": 10}, "float32"),
    ("text_cnn", {}, "float16"),
    ("gpt2_small", {"sequence_length": 8}, "float32"),
    ("dlrm_small", {}, "float32"),
]
Exported = Callable[..., tuple[Path, ExportOptions, Description]]

# By how much outputs may differ, of the largest: float32 by the order of sums, float16 has 11 bits, int8 quantises each factor to 8.
WITHIN = {"float32": 1e-5, "float16": 5e-3, "int8": 0.1}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2 with two blocks instead of twelve equal ones, which take six times as long to export, and a thousand words.

    ResNet with the first two of its four stages, which have every kind of block, and small images.
    """
    monkeypatch.setattr(gpt2.GPT2, "vocabulary", 1000)
    monkeypatch.setattr(gpt2, "GPT2", partial(_shallow, gpt2.GPT2))
    monkeypatch.setattr(resnet.ResNet, "input_shape", (3, 32, 32))
    monkeypatch.setattr(resnet, "ResNet", partial(_two_stages, resnet.ResNet))
    tiny = llama.Size(100, width=64, depth=1, heads=1, key_heads=1, hidden=64, theta=10_000.0, tied=True)
    monkeypatch.setattr(llama, "_SMOLLM2_135M", tiny)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Exports a model with a batch of 3, alone in a directory; each one once."""

    @functools.cache
    def made(name: str, model_opts: str, dtype: str) -> tuple[Path, ExportOptions, Description]:
        file = tmp_path_factory.mktemp("exported") / "model.onnx"
        options = ExportOptions(
            model=name, model_opts=json.loads(model_opts), batch_size=3, dtype=dtype, seed=5, out=str(file)
        )
        return file, options, export(options)

    return lambda name, model_opts, dtype: made(name, json.dumps(model_opts), dtype)


def _shallow(kind: type[gpt2.GPT2], title: str, **options: Any) -> gpt2.GPT2:
    return kind(title, **{**options, "depth": 2})


def _two_stages(
    kind: type[resnet.ResNet], depth: int, blocks: tuple[int, int, int, int], **options: Any
) -> resnet.ResNet:
    return kind(depth, (*blocks[:2], 0, 0), **options)


def both(file: Path, options: ExportOptions) -> tuple[Any, Any]:
    """Outputs of ONNX Runtime and of PyTorch, for the same inputs."""
    from onnxruntime_benchmarks.session import open_session, running

    torch.manual_seed(options.seed)
    model = get_model(options.model, **options.model_opts).eval()
    inputs = model.inputs(options.batch_size, torch.Generator().manual_seed(3))
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    session = open_session(file, OnnxOptions(model=options.model, num_threads=1))
    half = options.dtype == "float16"
    arrays = [tensor.half() if half and tensor.is_floating_point() else tensor for tensor in tensors]
    names = [one.name for one in session.get_inputs()]
    run = running(session, {name: array.numpy() for name, array in zip(names, arrays, strict=True)}, "cpu")
    run.step(None)
    run.synchronize()
    with torch.inference_mode():
        return run.outputs()[0].astype(np.float32), model(inputs).numpy()


@pytest.mark.parametrize(("name", "model_opts", "dtype"), CASES, ids=[f"{name}-{dtype}" for name, _, dtype in CASES])
def test_outputs_and_parameter_counts_are_those_of_pytorch(
    exported: Exported, name: str, model_opts: dict[str, Any], dtype: str
) -> None:
    file, options, described = exported(name, model_opts, dtype)
    assert described.parameters == get_model(name, **model_opts).num_parameters()
    found, expected = both(file, options)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= WITHIN[dtype] * np.abs(expected).max()
    assert os.listdir(file.parent) == ["model.onnx"]
    if dtype == "int8":
        size = file.stat().st_size
        assert size == pytest.approx(described.parameters, rel=0.1)  # a byte for each weight


def test_a_graph_has_the_parameters_of_the_model(exported: Exported, tmp_path: Path) -> None:
    import onnx

    from onnxruntime_benchmarks.session import described, open_session

    name, file = "deep_mnist", tmp_path / "mine.onnx"
    shutil.copy(exported(name, {}, "float32")[0], file)
    session = open_session(file, OnnxOptions(model="mine"))
    assert described(session, file, "mine").title == get_model(name).title

    graph = onnx.load(file)
    del graph.metadata_props[:]  # as if another program had written it: then parameters are counted
    onnx.save(graph, file)
    found = described(open_session(file, OnnxOptions(model="mine")), file, "mine")
    assert found == Description("mine", parameters=get_model(name).num_parameters())


def test_random_tokens_stay_within_the_vocabulary(exported: Exported) -> None:
    from onnxruntime_benchmarks.session import described, open_session, random_inputs

    file, _, _ = exported("text_cnn", {}, "float16")
    session = open_session(file, OnnxOptions(model="text_cnn"))
    (tokens,) = random_inputs(session, 3, 1, dict(described(session, file, "").bounds)).values()
    assert tokens.shape == (3, 56)
    assert 10_000 < tokens.max() < 18_765
    with pytest.raises(UsageError, match="the model requires batches of 3: use --batch_size 3"):
        random_inputs(session, 5, 1, {})


def test_random_categories_stay_within_their_tables(exported: Exported) -> None:
    """Tables of three rows are beside one of 100,000; PyTorch's inputs respect it, and so must those that are made here."""
    from onnxruntime_benchmarks.session import described, open_session, random_inputs, running

    file, _, _ = exported("dlrm_small", {}, "float32")
    session = open_session(file, OnnxOptions(model="dlrm_small", num_threads=1))
    bounds = dict(described(session, file, "").bounds)
    rows = np.array(get_model("dlrm_small").rows)
    for seed in (-1, 0, 1):
        inputs = random_inputs(session, 3, seed, bounds)
        (categories,) = (array for array in inputs.values() if array.dtype == np.int64)
        assert categories.shape == (3, rows.size)
        assert (categories < rows).all()
        assert categories.max() > 1000
    run = running(session, inputs, "cpu")
    run.step(None)
    assert np.isfinite(run.outputs()[0]).all()


@pytest.mark.parametrize(
    ("model", "model_opts", "kind", "message"),
    [
        ("resnet19", {}, UsageError, "did you mean resnet18"),
        ("deep_mnist", {"depth": 3}, UsageError, "--model_opts do not fit deep_mnist"),
        ("smollm2_135m", {}, SkippedError, "token by token"),
    ],
)
def test_what_cannot_be_exported_is_named(
    tmp_path: Path, model: str, model_opts: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        export(ExportOptions(model=model, model_opts=model_opts, out=str(tmp_path / "model.onnx")))
    assert not list(tmp_path.iterdir())
