"""Accuracy over a complete data set, each image exactly once; how it compares with an entry of weights, and new entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark_core.doubts import warning
from benchmark_core.exits import BenchmarkError
from benchmark_core.log import Log
from pytorch_benchmarks.devices import Precision, World
from pytorch_benchmarks.distributed import total
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.training.setup import Setup
from pytorch_benchmarks.training.state import TrainingState
from pytorch_benchmarks.weights import Weights, find_weights, write_weights

_NEAR = 0.1  # % of accuracy; sums differ between machines in the last bits


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Counts of correct predictions.

    Attributes:
        instances: Images evaluated by all processes together.
        top1, top5: Images whose class was the most likely, or among the five most likely.
    """

    instances: int
    top1: int
    top5: int

    def percent(self) -> dict[str, float]:
        """`accuracy_top1` and `accuracy_top5` in %."""
        return {"accuracy_top1": 100 * self.top1 / self.instances, "accuracy_top5": 100 * self.top5 / self.instances}


def evaluate(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    *,
    expected: int,
    precision: Precision,
    world: World,
    device: torch.device,
) -> Accuracy:
    """Count the correct predictions of a model; leaves it in evaluation mode.

    Args:
        model: Maps inputs to logits, shape (batch, classes).
        batches: Batches of this process: inputs and class numbers, on the device.
        expected: Images in the data set: all processes together must evaluate each of them once.
        precision: Adds autocast if it specifies one.
        world: The processes that share the work; there may be processes without batches.
        device: Device of the model.

    Raises:
        BenchmarkError: More or fewer images were evaluated.
    """
    model.eval()
    context = precision.context or nullcontext
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for inputs, labels in batches:  # outside of inference mode: loaders reuse their tensors
        with torch.inference_mode(), context():
            output = model(inputs)
            likeliest = output.topk(min(5, output.shape[1]), dim=1).indices
            right = likeliest == labels[:, None]
            counts += torch.stack([torch.full((), len(labels), device=device), right[:, 0].sum(), right.sum()])
    found = Accuracy(*(total(int(number), world, device) for number in counts.tolist()))
    if found.instances != expected:
        raise BenchmarkError(f"{found.instances} images were evaluated, but the data set has {expected}")
    return found


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


_ENVIRONMENT = ("exp.env.", "exp.code.commit", "exp.code.diff", "exp.software.versions")


def compare_with_entry(found: dict[str, float], setup: Setup, log: Log) -> None:
    """Warn if the accuracy differs from that in the weights' entry."""
    said = find_weights(setup.options.weights, setup.options.model).metrics.get("accuracy_top1")
    if said is not None and abs(found["accuracy_top1"] - said) > _NEAR:
        log.warn(warning("accuracy differs from the weights' entry", f"{said:.3f} % recorded"))


def write_entry(state: TrainingState, setup: Setup, metrics: dict[str, float], log: Log) -> None:
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
        "environment": {name: value for name, value in log.values.items() if name.startswith(_ENVIRONMENT)},
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
