"""The step of inference."""

from __future__ import annotations

import torch

from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.phases.inference import inference_step


def test_inference_changes_no_weights_and_records_no_gradients() -> None:
    model = get_model("resnet18")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output = inference_step(model)((model.inputs(2, torch.Generator()), None))
    assert not output.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
