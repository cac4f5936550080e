"""What is measured besides time: memory, operations, a profile, and peaks of devices."""

from __future__ import annotations

import itertools
import json
import mmap
from pathlib import Path

import pytest
import torch

from pytorch_benchmarks.devices import synchronizer
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.phases import inference_step, training_step
from pytorch_benchmarks.results import Work, count_work, peak_memory, peak_tflops, write_profile

CPU = torch.device("cpu")


def touch_fresh_memory(size: int) -> None:
    """Have so many bytes of pages that the process did not have before, and give them back."""
    with mmap.mmap(-1, size + 4096) as memory:
        memory.write(b"x" * size)


def test_operations_are_those_of_the_matrix_products() -> None:
    model = get_model("deep_mnist")
    generator = torch.Generator()
    batch = (model.inputs(4, generator), model.targets(4, generator))
    sizes = list(itertools.pairwise([784, 2500, 2000, 1500, 1000, 500, 10]))
    forward = 2 * 4 * sum(a * b for a, b in sizes)
    # Backward: gradients of weights and of inputs, but nobody wants those of the data.
    training = 3 * forward - 2 * 4 * sizes[0][0] * sizes[0][1]
    assert count_work(inference_step(model), batch, model).flops == forward
    assert count_work(training_step(model, model), batch, model).flops == training


@pytest.mark.integration
def test_attention_and_recurrent_layers_are_counted() -> None:
    generator = torch.Generator()
    for name, options, least in (("sensor_net", {}, 24 * 2 * 7232 * 512 * 0.6), ("vit_b_16", {}, 2 * 17.5e9)):
        model = get_model(name, **options)
        batch = (model.inputs(1, generator), None)
        assert count_work(inference_step(model), batch, model).flops > least


def test_operations_of_resnet50_are_the_published_ones() -> None:
    model = get_model("resnet50")
    batch = (model.inputs(1, torch.Generator()), None)
    counted = count_work(inference_step(model), batch, model).flops
    assert counted / 2 == pytest.approx(4.1e9, rel=0.02)  # multiply-adds, as usually given


def test_the_peak_of_resident_memory_is_that_of_the_pass() -> None:
    step = touch_fresh_memory
    small = peak_memory(step, itertools.repeat(0), CPU, synchronizer(CPU))["memory_host"]
    large = peak_memory(step, itertools.repeat(120 << 20), CPU, synchronizer(CPU))["memory_host"]
    assert small is not None
    assert large is not None
    assert large - small > 80_000_000


def test_a_profile_names_the_operations(tmp_path: Path) -> None:
    model = get_model("deep_mnist")
    step = inference_step(model)
    batch = (model.inputs(1, torch.Generator()), None)
    write_profile(str(tmp_path / "trace.json"), step, itertools.repeat(batch), CPU)
    names = {event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert "aten::linear" in names
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]


def test_peaks() -> None:
    assert peak_tflops("NVIDIA H200", "bfloat16") == 989.4
    assert peak_tflops("NVIDIA A100-SXM4-80GB", "tf32") == 156.0
    assert peak_tflops("NVIDIA L40S", "float32") == 91.6
    assert peak_tflops("Tesla T4", "bfloat16") is None
    assert peak_tflops("AMD EPYC", "float32") is None
    assert peak_tflops("AMD Instinct MI250X", "float16") == 383 / 2  # one of its two dies
    assert peak_tflops("NVIDIA H100 80GB HBM3", "tf32") == 494.7
    assert peak_tflops("NVIDIA H100 PCIe", "bfloat16") == 756.0
    assert peak_tflops("NVIDIA H200 NVL", "bfloat16") == 835.5
    assert peak_tflops("NVIDIA GH200 480GB", "bfloat16") == 989.4
    assert peak_tflops("NVIDIA L40", "bfloat16") == 181.0  # not an L4
    assert peak_tflops("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "tf32") is None  # a seventh of the GPU has less


def test_bytes_of_a_matrix_product_are_those_of_its_factors_and_its_result() -> None:
    left, right = torch.zeros(4, 8), torch.zeros(8, 16)
    assert count_work(lambda pair: pair[0] @ pair[1].view(8, 16), (left, right), None) == Work(
        flops=2 * 4 * 8 * 16, bytes=4 * (4 * 8 + 8 * 16 + 4 * 16)
    )
