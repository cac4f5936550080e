"""The command line of train.py."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark_core.options import Parser, changed, option, optional, positive, share, whole
from pytorch_benchmarks.options import CommonOptions

OPTIMIZERS = ("sgd", "adamw", "rmsprop")
AUGMENTATIONS = ("none", "randaugment", "trivialaugment")
SCHEDULERS = ("step", "cosine", "exponential", "constant")


def _magnitude(value: str) -> int:
    number = whole(0)(value)
    if number > 30:
        raise ArgumentTypeError(f"must be at most 30, not {number}")
    return number


@dataclass(frozen=True)
class TrainingOptions(CommonOptions):
    """Options of one training. The help of an option describes the meaning of None."""

    batch_size: int = changed(CommonOptions, "batch_size", 32)
    data_backend: str = changed(CommonOptions, "data_backend", "image_folder")
    data_dir: str = changed(
        CommonOptions,
        "data_dir",
        help="Directory with the data sets train and val, or with the training data if val_dir names the validation data.",
    )
    val_dir: str = option("", "Directory of the validation data; if empty, val in data_dir.", metavar="DIR")
    crop_pct: float | None = option(
        None,
        "Centre-crop fraction of evaluation, relative to the shorter side of an image. If empty, that of the weights' entry, or else 0.875.",
        optional(share),
        metavar="SHARE",
    )
    epochs: int = option(90, "Training epochs; 0 only evaluates.", whole(0))
    optimizer: str = option("sgd", "Optimiser that updates the weights.", choices=OPTIMIZERS)
    lr: float = option(0.1, "Peak learning rate, for all replicas together.", positive, metavar="RATE")
    momentum: float = option(0.9, "Momentum of sgd and rmsprop.", positive, metavar="X")
    nesterov: bool = option(False, "Use Nesterov momentum, with sgd.")
    weight_decay: float = option(
        1e-4, "Weight decay of all weights for which no other one is given.", positive, metavar="DECAY"
    )
    norm_weight_decay: float | None = option(
        None,
        "Weight decay of normalisation layers. If empty, that of the other weights.",
        optional(positive),
        metavar="DECAY",
    )
    bias_weight_decay: float | None = option(
        None, "Weight decay of biases. If empty, that of the other weights.", optional(positive), metavar="DECAY"
    )
    clip_grad_norm: float = option(
        0.0, "Maximum norm of the gradient of all weights together; 0 disables clipping.", positive, metavar="NORM"
    )
    lr_scheduler: str = option("step", "Schedule of the learning rate after warm-up.", choices=SCHEDULERS)
    lr_step_size: float = option(
        30.0, "Scheduler step: epochs between reductions of the learning rate.", positive, metavar="EPOCHS"
    )
    lr_gamma: float = option(
        0.1,
        "Factor of the learning rate, per step (scheduler step) or per epoch (scheduler exponential).",
        positive,
        metavar="X",
    )
    lr_min: float = option(0.0, "Scheduler cosine: final learning rate.", positive, metavar="RATE")
    lr_warmup_epochs: float = option(
        0.0, "Epochs in which the learning rate rises linearly.", positive, metavar="EPOCHS"
    )
    lr_warmup_decay: float = option(
        0.01, "Fraction of the learning rate at which warm-up begins.", share, metavar="SHARE"
    )
    label_smoothing: float = option(
        0.0, "Fraction of a target that is spread evenly over all classes.", share, metavar="SHARE"
    )
    mixup_alpha: float = option(
        0.0,
        "Mix images (mixup) with this parameter of the Beta distribution; 0 disables it.",
        positive,
        metavar="ALPHA",
    )
    cutmix_alpha: float = option(
        0.0,
        "Paste parts of images into others (CutMix) with this parameter of the Beta distribution; 0 disables it. If mixup is enabled too, one of the two is chosen at random.",
        positive,
        metavar="ALPHA",
    )
    auto_augment: str = option(
        "none",
        "Random augmentation of images: two operations of one magnitude (randaugment), or one of any magnitude (trivialaugment).",
        choices=AUGMENTATIONS,
    )
    ra_magnitude: int = option(9, "Magnitude of randaugment, from 0 to 30.", _magnitude, metavar="N")
    random_erase: float = option(0.0, "Probability that a box of an image is erased.", share, metavar="SHARE")
    ema_decay: float = option(
        0.0,
        "Keep an exponential moving average of the weights with this decay, and evaluate it; 0 disables it.",
        share,
        metavar="DECAY",
    )
    ema_steps: int = option(1, "Batches between updates of the average.", whole(1))
    val_batch_size: int = option(0, "Batch size of the evaluation after each epoch; 0 is that of training.", whole(0))
    test_batch_size: int = option(1, "Batch size of the final evaluation.", whole(1))
    output_dir: str = option("", "Directory of checkpoints and trained weights; trained/MODEL if empty.", metavar="DIR")
    resume: str = option(
        "",
        "Checkpoint to resume from. auto is the last one in output_dir, if there is one; if empty, training starts from scratch and rejects a directory that has a checkpoint.",
        metavar="auto|FILE",
    )
    test_only: bool = option(False, "Evaluate the weights without training.")


def parse_training_options(arguments: Sequence[str] | None = None) -> TrainingOptions:
    """Parse a command line; an invalid argument prints one line and exits with code 2."""
    parser = Parser(
        TrainingOptions,
        prog="train.py",
        description="Train an image classifier, and measure its accuracy on exactly the whole validation set.",
        example="--model resnet18 --data_dir /data/imagenet --num_gpus 8 --output_dir trained/resnet18",
        common=(CommonOptions, "benchmarks.py and train.py"),
    )
    parsed = parser.parse_args(arguments)
    if not parsed.model:
        parser.error("--model is required, such as --model resnet18")
    if not parsed.data_dir and not (parsed.test_only and parsed.val_dir):
        parser.error("--data_dir is required: a directory that contains train and val")
    if parsed.test_only and not parsed.weights:
        parser.error("--test_only requires --weights, the trained weights to evaluate")
    if not parsed.output_dir:
        parsed.output_dir = f"trained/{parsed.model.replace(':', '-')}"
    return TrainingOptions(**vars(parsed))
