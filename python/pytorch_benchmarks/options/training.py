"""The command line of train.py."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass

from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.options.kinds import optional, positive, share, whole
from pytorch_benchmarks.options.option import changed, option
from pytorch_benchmarks.options.parser import Parser

__all__ = ["TrainingOptions", "parse_training_options"]

OPTIMIZERS = ("sgd", "adamw", "rmsprop")
AUGMENTATIONS = ("none", "randaugment", "trivialaugment")
SCHEDULERS = ("step", "cosine", "exponential", "constant")


def _magnitude(value: str) -> int:
    number = whole(0)(value)
    if number > 30:
        raise ArgumentTypeError(f"must be at most 30, not {number}")
    return number


@dataclass(frozen=True, slots=True)
class TrainingOptions(CommonOptions):
    """One training. What is None is taken from elsewhere, as the help of the option says."""

    batch_size: int = changed(CommonOptions, "batch_size", 32)
    data_backend: str = changed(CommonOptions, "data_backend", "image_folder")
    data_dir: str = changed(
        CommonOptions,
        "data_dir",
        help="Directory that holds the data sets train and val; or the training data, if val_dir names the others.",
    )
    val_dir: str = option("", "Directory of the validation data, if it is not val in data_dir.", metavar="DIR")
    crop_pct: float | None = option(
        None,
        "Share of an image's shorter side that evaluation looks at. That of the weights' entry if empty, or else 0.875.",
        optional(share),
        metavar="SHARE",
    )
    epochs: int = option(90, "Passes over the training data; 0 evaluates only.", whole(0))
    optimizer: str = option("sgd", "Algorithm that turns gradients into new weights.", choices=OPTIMIZERS)
    lr: float = option(0.1, "Highest learning rate, for all replicas together.", positive, metavar="RATE")
    momentum: float = option(0.9, "Momentum of sgd and rmsprop.", positive, metavar="X")
    nesterov: bool = option(False, "Use Nesterov's form of momentum, with sgd.")
    weight_decay: float = option(
        1e-4, "Weight decay, of all weights for which no other one is given.", positive, metavar="DECAY"
    )
    norm_weight_decay: float | None = option(
        None,
        "Weight decay of normalisation layers. That of the other weights if empty.",
        optional(positive),
        metavar="DECAY",
    )
    bias_weight_decay: float | None = option(
        None, "Weight decay of biases. That of the other weights if empty.", optional(positive), metavar="DECAY"
    )
    clip_grad_norm: float = option(
        0.0, "Largest norm of the gradient of all weights together; 0 does not clip it.", positive, metavar="NORM"
    )
    lr_scheduler: str = option("step", "How the learning rate falls after warm-up.", choices=SCHEDULERS)
    lr_step_size: float = option(
        30.0, "Scheduler step: epochs after which the learning rate falls.", positive, metavar="EPOCHS"
    )
    lr_gamma: float = option(
        0.1,
        "Factor of the learning rate, for each step (scheduler step) or each epoch (scheduler exponential).",
        positive,
        metavar="X",
    )
    lr_min: float = option(0.0, "Scheduler cosine: the learning rate at the end.", positive, metavar="RATE")
    lr_warmup_epochs: float = option(
        0.0, "Epochs in which the learning rate rises linearly.", positive, metavar="EPOCHS"
    )
    lr_warmup_decay: float = option(0.01, "Share of the learning rate at which warm-up begins.", share, metavar="SHARE")
    label_smoothing: float = option(
        0.0, "Share of a target that is spread evenly over all classes.", share, metavar="SHARE"
    )
    mixup_alpha: float = option(
        0.0, "Mix images (mixup) with this parameter of the Beta distribution; 0 does not.", positive, metavar="ALPHA"
    )
    cutmix_alpha: float = option(
        0.0,
        "Paste parts of images into others (CutMix) with this parameter of the Beta distribution; 0 does not. With mixup too, one of both by chance.",
        positive,
        metavar="ALPHA",
    )
    auto_augment: str = option(
        "none",
        "Change images by chance: by two operations of one magnitude (randaugment), or by one of any (trivialaugment).",
        choices=AUGMENTATIONS,
    )
    ra_magnitude: int = option(9, "Magnitude of randaugment, from 0 to 30.", _magnitude, metavar="N")
    random_erase: float = option(0.0, "Probability that a box of an image is erased.", share, metavar="SHARE")
    ema_decay: float = option(
        0.0,
        "Keep an exponential moving average of the weights with this decay, and evaluate that; 0 does not.",
        share,
        metavar="DECAY",
    )
    ema_steps: int = option(1, "Batches after which the average is updated.", whole(1))
    val_batch_size: int = option(0, "Batch size of the evaluation after each epoch; 0 is that of training.", whole(0))
    test_batch_size: int = option(1, "Batch size of the evaluation at the end.", whole(1))
    output_dir: str = option("", "Directory of checkpoints and trained weights; trained/MODEL if empty.", metavar="DIR")
    resume: str = option(
        "",
        "Checkpoint to resume from. auto is the last one in output_dir, if there is one; empty starts anew and refuses a directory that has one.",
        metavar="auto|FILE",
    )
    test_only: bool = option(False, "Evaluate the weights, and train nothing.")


def parse_training_options(arguments: Sequence[str] | None = None) -> TrainingOptions:
    """Parse a command line; a wrong argument prints one line and exits with code 2."""
    parser = Parser(
        TrainingOptions,
        prog="train.py",
        description="Train a classifier of images, and measure its accuracy over exactly the whole validation set.",
        example="--model resnet18 --data_dir /data/imagenet --num_gpus 8 --output_dir trained/resnet18",
    )
    parsed = parser.parse_args(arguments)
    if not parsed.model:
        parser.error("--model is needed, such as --model resnet18")
    if not parsed.data_dir and not (parsed.test_only and parsed.val_dir):
        parser.error("--data_dir is needed: a directory with train and val in it")
    if parsed.test_only and not parsed.weights:
        parser.error("--test_only evaluates trained weights: name them with --weights")
    if not parsed.output_dir:
        parsed.output_dir = f"trained/{parsed.model.replace(':', '-')}"
    return TrainingOptions(**vars(parsed))
