"""The learning rate."""

from __future__ import annotations

from typing import Any

import pytest

from pytorch_benchmarks.options.training import TrainingOptions
from pytorch_benchmarks.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("options", "progress", "rate"),
    [
        ({}, 0.0, 0.1),
        ({}, 29.99, 0.1),
        ({}, 30.0, 0.01),
        ({}, 89.0, 0.001),
        ({"lr_warmup_epochs": 5.0}, 0.0, 0.001),
        ({"lr_warmup_epochs": 5.0}, 2.5, 0.0505),
        ({"lr_warmup_epochs": 5.0}, 34.99, 0.1),
        ({"lr_warmup_epochs": 5.0}, 35.0, 0.01),
        ({"lr_scheduler": "cosine", "epochs": 10}, 5.0, 0.05),
        ({"lr_scheduler": "cosine", "epochs": 10, "lr_min": 0.02}, 10.0, 0.02),
        ({"lr_scheduler": "cosine", "epochs": 12, "lr_warmup_epochs": 2.0}, 7.0, 0.05),
        ({"lr_scheduler": "exponential", "lr_gamma": 0.5}, 2.9, 0.025),
        ({"lr_scheduler": "constant"}, 80.0, 0.1),
        ({"lr_step_size": 0.0}, 80.0, 0.1),
    ],
)
def test_the_learning_rate_is_a_function_of_progress(options: dict[str, Any], progress: float, rate: float) -> None:
    assert learning_rate(TrainingOptions("m", **options), progress) == pytest.approx(rate)
