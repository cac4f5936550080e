"""The overhead of train.py over the benchmarked step: images/s of a training epoch, compared with the same batches timed as a benchmark.

    python benchmarks/training_loop.py [--rounds 5]

Both read the same images with the same loader and run the same step, alternating in one process. The bound is the step alone, on one batch
in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import torch

from benchmark_core.log import Log
from benchmark_core.timing import Schedule, time_batches
from pytorch_benchmarks.data import make_dataset
from pytorch_benchmarks.devices import Precision, World
from pytorch_benchmarks.phases import training_step
from pytorch_benchmarks.training.options import TrainingOptions
from pytorch_benchmarks.training.setup import Setup, classifier, open_pictures, transforms_for
from pytorch_benchmarks.training.trainer import Trainer

CPU = torch.device("cpu")


def set_up(model: str, batch: int, data: Path, output: Path) -> Setup:
    options = TrainingOptions(
        model, batch_size=batch, data_dir=str(data), epochs=2, lr=0.001, output_dir=str(output), num_loader_threads=2
    )
    pictures = open_pictures(options)
    network = classifier(options, pictures)
    transforms = transforms_for(network, options)
    precision = Precision(torch.float32, None, False, "cpu")
    return Setup(options, pictures, transforms, network.num_classes, precision, CPU, World())


def alone(setup: Setup) -> float:
    """Images/s of the step on one batch."""
    model = classifier(setup.options, setup.pictures)
    order = setup.training_order(0)
    inputs, targets = next(setup.training_batches(order))
    step = training_step(model, model)
    batches = itertools.repeat((inputs.clone(), targets.clone()))
    timing = time_batches(step, batches, Schedule(order.batches_per_epoch, 2), synchronize=lambda: None)
    return setup.options.batch_size * order.batches_per_epoch / timing.total


def benchmarked(setup: Setup) -> float:
    """Images/s of an epoch, timed as a benchmark."""
    model = classifier(setup.options, setup.pictures)
    order = setup.training_order(0)
    count = order.batches_per_epoch
    batches = setup.training_batches(order)
    timing = time_batches(training_step(model, model), batches, Schedule(count, count), synchronize=lambda: None)
    return setup.options.batch_size * count / timing.total


def trained(setup: Setup) -> float:
    """Images/s of the second epoch of a training."""
    with tempfile.TemporaryDirectory() as output, contextlib.redirect_stdout(io.StringIO()):
        options = {name: getattr(setup.options, name) for name in setup.options.__dataclass_fields__}
        here = Setup(
            TrainingOptions(**{**options, "output_dir": output}),
            setup.pictures,
            setup.transforms,
            setup.num_classes,
            setup.precision,
            CPU,
            World(),
        )
        trainer = Trainer(here, classifier(here.options, here.pictures), Log())
        trainer.run()
    count = setup.training_order(0).batches_per_epoch
    return 1000 * setup.options.batch_size * count / trainer.state.history["time"][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{'':24} {'step alone':>12} {'benchmark':>12} {'train.py':>12} {'/ benchmark':>12} {'/ step':>8}")
    for model, batch, count, side in (("deep_mnist", 32, 960, 40), ("resnet18", 8, 64, 300)):
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
            for part, number in (("train", count), ("val", 8)):
                size = [f"--height={side}", f"--width={side}", "--num_classes=4", "--channels=3"]
                make_dataset.main(["image_folder", f"{place}/{part}", f"--num_images={number}", *size])
            setup = set_up(model, batch, Path(place), Path(place) / "out")
            found: dict[Callable[[Setup], float], list[float]] = {alone: [], benchmarked: [], trained: []}
            for _ in range(rounds):
                sides = list(found)
                random.shuffle(sides)
                for side_of in sides:
                    found[side_of].append(side_of(setup))
        ratios = [
            statistics.median(a / b for a, b in zip(found[trained], found[other], strict=True))
            for other in (benchmarked, alone)
        ]
        middle = [statistics.median(values) for values in found.values()]
        name = f"{model}, batch {batch}"
        print(
            f"{name:24} {middle[0]:>12.1f} {middle[1]:>12.1f} {middle[2]:>12.1f} {ratios[0]:>12.3f} {ratios[1]:>8.3f}"
        )


if __name__ == "__main__":
    main()
