"""Train an image classifier: reference training, from a data set to weights with a measured accuracy.

    python train.py --model resnet18 --data_dir /data/imagenet --num_gpus 8 --output_dir trained/resnet18
    torchrun --nproc_per_node=8 train.py --model resnet18 --data_dir /data/imagenet
    python train.py --model resnet18 --data_dir /data/imagenet --test_only --weights trained/resnet18/resnet18.json

After every epoch the accuracy over the whole validation set is measured, and `last.pt` is written; `best.pt` is the best so far. At
the end the best is evaluated again with a batch size of 1, and written as an entry of weights. Results are printed as
`__key__= json` lines.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # run as a script, from any directory
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark_core.crash import guarded
from benchmark_core.log import Log
from benchmark_core.program import check_writable, end, run
from pytorch_benchmarks.training.options import TrainingOptions, parse_training_options

if TYPE_CHECKING:
    import torch

    from pytorch_benchmarks.devices import World


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one training and return the exit code of `program.run`."""
    options = parse_training_options(arguments)
    log = Log()
    words = sys.argv[1:] if arguments is None else arguments
    return run(lambda: _start(options, words, log), options, log)


def _start(options: TrainingOptions, arguments: Sequence[str], log: Log) -> None:
    if not options.test_only and options.node_rank == 0:  # only the first node writes there
        check_writable("--output_dir", os.path.join(options.output_dir, "last.pt"), may_be_made=True)

    from pytorch_benchmarks.distributed import started
    from pytorch_benchmarks.workload import tried

    with started(options, __file__, arguments) as (device, world), tried(options):
        _train(options, device, world, log)


def _train(options: TrainingOptions, device: torch.device, world: World, log: Log) -> None:
    """Run one training: data, model, epochs, accuracy of the best epoch."""
    import torch

    from benchmark_core.measure import log_facts
    from pytorch_benchmarks.devices import choose_precision, set_backends
    from pytorch_benchmarks.results import about
    from pytorch_benchmarks.training.accuracy import compare_with_entry, measure, write_entry
    from pytorch_benchmarks.training.setup import Setup, classifier, open_pictures, transforms_for
    from pytorch_benchmarks.training.trainer import Trainer

    precision = choose_precision(options, device)
    settings = set_backends(options, tf32=precision.tf32)
    pictures = open_pictures(options)
    model = classifier(options, pictures).to(device=device, dtype=precision.weights)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    transforms = transforms_for(model, options)
    setup = Setup(options, pictures, transforms, model.num_classes, precision, device, world)
    log_facts(log, options, about(model, device, options.data_backend))
    log.many({**settings, "precision": precision.describe(), "compile": options.compile}, "results.")

    if options.test_only:
        compare_with_entry(measure(model, setup, log), setup, log)
        return
    trainer = Trainer(setup, model, log)
    trainer.run()
    trainer.load_best()
    metrics = measure(trainer.state.evaluated, setup, log)
    if log.reports:
        write_entry(trainer.state, setup, metrics, log)


if __name__ == "__main__":
    end(guarded(main))
