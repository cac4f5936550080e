"""Models of other packages on a GPU: they infer what they infer on a CPU, and learn; models in TorchBench's form run there.

Small ones with random weights: nothing is downloaded. The packages torchvision, timm and transformers are optional.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlbs.suites.torchbench.measured.workload import pack_workload
from pytorch_benchmarks.devices import Precision, map_tensors, set_backends
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import inference_step, training_step
from tests.gpu.test_models import without_noise
from tests.gpu.work import small_model
from tests.suites.torchbench.made_models import LOADER, write_model

pytestmark = pytest.mark.integration

TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 0.15}
STEPS = 12
TINY = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MODELS: dict[str, dict[str, Any]] = {
    "torchvision:resnet18": {},
    "torchvision:mobilenet_v3_small": {},
    "timm:resnet18": {},
    "timm:vit_tiny_patch16_224": {},
    "transformers:bert": {**TINY, **NO_DROPOUT, "vocab_size": 1000, "sequence_length": 16},
    "transformers:gpt2": {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 1000, "sequence_length": 16},
    "transformers:llama": {**TINY, "num_key_value_heads": 2, "vocab_size": 1000, "sequence_length": 16},
    "transformers:vit": {**TINY, **NO_DROPOUT, "image_size": 32, "patch_size": 8},
}


def outputs(model: Any, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    cast = inputs.to(dtype) if inputs.is_floating_point() else inputs
    found: Tensor = inference_step(model.to(dtype))((cast, None))
    return found.double().cpu()


@pytest.mark.parametrize("name", MODELS)
def test_it_infers_what_it_infers_on_a_cpu_and_learns(device: torch.device, name: str, figures: dict[str, Any]) -> None:
    package = name.partition(":")[0]
    try:
        importlib.import_module(package)
    except (ImportError, RuntimeError) as error:  # a RuntimeError of torchvision, if it is built for another PyTorch
        pytest.skip(f"{package} cannot be imported: {' '.join(str(error).split())}")
    set_backends(parse_benchmark_options(["--model=m", "--cudnn_benchmark=false"]), tf32=False)
    model, batches = small_model(name, torch.device("cpu"), **MODELS[name])
    batch = next(batches)
    expected = outputs(model, batch[0], torch.float32)
    model.to(device)
    moved = map_tensors(lambda tensor: tensor.to(device), batch)
    for dtype, tolerance in TOLERANCE.items():
        if device.type == "cpu" and dtype != torch.float32:
            continue  # takes a minute on CPUs without bfloat16
        error = float((outputs(model, moved[0], dtype) - expected).norm() / expected.norm())
        figures[f"error in {str(dtype).removeprefix('torch.')}"] = error
        assert error < tolerance
    model.to(torch.float32)
    step = training_step(without_noise(model), model)
    losses = [float(step(moved)) for _ in range(STEPS)]
    assert losses[-1] < losses[0], losses


@pytest.mark.parametrize("forward_only", [False, True])
def test_a_model_in_the_form_of_torchbench(device: torch.device, tmp_path: Path, forward_only: bool) -> None:
    pack = write_model(tmp_path / "present")
    flags = [
        f"--pack={pack}",
        LOADER,
        "--model=present",
        "--batch_size=4",
        f"--forward_only={str(forward_only).lower()}",
    ]
    options = parse_benchmark_options(flags)
    workload, size = pack_workload(options, device, Precision(torch.float32, None, False, device.type))
    results = [workload.step(next(workload.source.batches)) for _ in range(3)]
    assert (workload.phase, size) == ("inference" if forward_only else "training", 4)
    if not forward_only:
        assert all(loss.device.type == device.type and torch.isfinite(loss) for loss in results)
