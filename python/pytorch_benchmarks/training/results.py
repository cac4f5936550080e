"""The accuracy of trained weights, and their entry."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.environment import environment
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.weights import Weights, find_weights, write_weights
from pytorch_benchmarks.training.evaluation import evaluate
from pytorch_benchmarks.training.setup import Setup
from pytorch_benchmarks.training.state import State

__all__ = ["compare_with_entry", "measure", "write_entry"]

_NEAR = 0.1  # % of accuracy; sums differ between machines in the last bits


def measure(model: nn.Module, setup: Setup, log: Log) -> dict[str, float]:
    """Measure the accuracy over the complete validation set, in batches of `--test_batch_size`; log it and return it in %."""
    accuracy = evaluate(
        model,
        setup.validation_batches(setup.options.test_batch_size),
        expected=len(setup.pictures.val),
        precision=setup.precision,
        world=setup.world,
        device=setup.device,
    )
    found = accuracy.percent()
    log.many(found, "results.")
    log("results.accuracy_instances", accuracy.instances)
    log("results.accuracy_batch", setup.options.test_batch_size)
    if log.reports:
        print(
            f"accuracy of {setup.options.model}: {found['accuracy_top1']:.3f} % (top 5: {found['accuracy_top5']:.3f} %) "
            f"of {accuracy.instances} images, in batches of {setup.options.test_batch_size}",
            flush=True,
        )
    return {**found, "instances": accuracy.instances}


def compare_with_entry(found: dict[str, float], setup: Setup, log: Log) -> None:
    """Warn if the accuracy differs from that in the weights' entry."""
    said = find_weights(setup.options.weights, setup.options.model).metrics.get("accuracy_top1")
    if said is not None and abs(found["accuracy_top1"] - said) > _NEAR:
        log.warn(
            f"accuracy differs from the weights' entry: {said:.3f} % recorded; check the images, the precision and the weights"
        )


def write_entry(state: State, setup: Setup, metrics: dict[str, float], log: Log) -> None:
    """Write the trained weights and their entry into the output directory."""
    options = setup.options
    name = options.model.replace(":", "-")
    path = Path(options.output_dir) / f"{name}.json"
    evaluated = state.evaluated
    assert isinstance(evaluated, Model)
    training: dict[str, Any] = {
        "options": asdict(options),
        "epochs": state.epoch,
        "best_epoch": state.best.get("epoch"),
        "replicas": setup.world.size,
        "images": len(setup.pictures.train or ()),
        "environment": {"pytorch": torch.__version__, **environment(setup.device)},
    }
    known = {"num_classes": evaluated.num_classes} if setup.pictures.val.num_classes else {}
    entry = Weights(
        options.model,
        Path(f"{name}.pt"),
        model_opts={**known, **options.model_opts},
        transforms=setup.transforms,
        categories=setup.pictures.categories,
        metrics={**metrics, "parameters": evaluated.num_parameters()},
        training=training,
    )
    tensors = {name: value.detach().cpu().contiguous() for name, value in evaluated.state_dict().items()}
    write_weights(path, tensors, entry)
    log("results.weights", str(path))
