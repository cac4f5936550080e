"""The command line of train.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytorch_benchmarks.arguments import MachineOptions, Parser, add_machine_options, positive, whole

__all__ = ["TrainingOptions", "parse_training_options"]

OPTIMIZERS = ("sgd", "adamw", "rmsprop")
SCHEDULERS = ("step", "cosine", "exponential", "constant")


@dataclass(frozen=True, slots=True)
class TrainingOptions(MachineOptions):
    """One training, as asked for. See `train.py --help` for what each option means.

    Weight decays of normalisations and biases are None for that of the other weights, `crop_pct` for that of the weights' entry.
    """

    batch_size: int = 32
    data_backend: str = "image_folder"
    val_dir: str = ""
    crop_pct: float | None = None
    epochs: int = 90
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    norm_weight_decay: float | None = None
    bias_weight_decay: float | None = None
    clip_grad_norm: float = 0.0
    lr_scheduler: str = "step"
    lr_step_size: float = 30.0
    lr_gamma: float = 0.1
    lr_min: float = 0.0
    lr_warmup_epochs: float = 0.0
    lr_warmup_decay: float = 0.01
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    ema_decay: float = 0.0
    ema_steps: int = 1
    val_batch_size: int = 0
    test_batch_size: int = 1
    output_dir: str = ""
    resume: str = ""
    test_only: bool = False


def _or_none(convert: Callable[[str], float]) -> Callable[[str], float | None]:
    return lambda value: None if value == "" else convert(value)


def _share(value: str) -> float:
    import argparse

    number = positive(value)
    if number > 1:
        raise argparse.ArgumentTypeError(f"must be at most 1, not {value}")
    return number


def parse_training_options(arguments: Sequence[str] | None = None) -> TrainingOptions:
    """Parse a command line; a wrong argument prints one line and exits with code 2."""
    parser = Parser(
        TrainingOptions,
        prog="train.py",
        description="Train a classifier of images, and measure its accuracy over exactly the whole validation set.",
        epilog="Example: train.py --model resnet18 --data_dir /data/imagenet --num_gpus 8 --output_dir trained/resnet18",
    )
    add_machine_options(parser)
    add = parser.add
    add("data_dir", metavar="DIR", help="the data set: holds train and val; or the training data, with --val_dir")
    add("val_dir", metavar="DIR", help="the validation data, if they are not DIR/val")
    add(
        "crop_pct",
        type=_share,
        metavar="SHARE",
        help="share of the shorter side that evaluation looks at; that of --weights, or 0.875",
    )
    add("epochs", type=whole(0), help="times that the training data are gone through")
    add("optimizer", choices=OPTIMIZERS, help="what turns gradients into new weights")
    add("lr", type=positive, help="learning rate at its highest, for all replicas together")
    add("momentum", type=positive, help="of sgd and rmsprop")
    add("nesterov", help="Nesterov's form of momentum, for sgd")
    add("weight_decay", type=positive, help="of all weights but those that the next two options name")
    add("norm_weight_decay", type=_or_none(positive), metavar="DECAY", help="of normalisation layers")
    add("bias_weight_decay", type=_or_none(positive), metavar="DECAY", help="of biases")
    add("clip_grad_norm", type=positive, metavar="NORM", help="longest gradient, of all weights together; 0: any")
    add("lr_scheduler", choices=SCHEDULERS, help="how the learning rate goes down after warm-up")
    add("lr_step_size", type=positive, metavar="EPOCHS", help="step: epochs after which it is multiplied by lr_gamma")
    add("lr_gamma", type=positive, help="step: factor; exponential: factor for each epoch")
    add("lr_min", type=positive, help="cosine: where it ends")
    add("lr_warmup_epochs", type=positive, metavar="EPOCHS", help="epochs in which it rises in a line")
    add("lr_warmup_decay", type=_share, metavar="SHARE", help="where it begins then, as a share of lr")
    add("label_smoothing", type=_share, metavar="SHARE", help="share of a target that all classes get evenly")
    add("mixup_alpha", type=positive, help="mix pictures: parameter of the Beta distribution; 0: do not")
    add(
        "cutmix_alpha", type=positive, help="paste parts of pictures into others, the same; with both, either by chance"
    )
    add("ema_decay", type=_share, help="keep an exponential moving average of the weights, and evaluate it; 0: do not")
    add("ema_steps", type=whole(1), metavar="BATCHES", help="batches after which it is brought up to date")
    add("val_batch_size", type=whole(0), help="of evaluation after each epoch; 0: batch_size")
    add("test_batch_size", type=whole(1), help="of the evaluation at the end, and of --test_only")
    add("output_dir", metavar="DIR", help="checkpoints and trained weights; trained/MODEL by default")
    add("resume", metavar="auto|FILE", help="go on from a checkpoint; auto: from DIR/last.pt, if it is there")
    add("test_only", help="evaluate --weights, and train nothing")
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
