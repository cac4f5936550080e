"""The variable parts of a training, and its checkpoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmark_core.exits import UsageError
from pytorch_benchmarks.models.model import Model, load_tensors
from pytorch_benchmarks.training.options import TrainingOptions
from pytorch_benchmarks.weights import is_tensors_by_name, read, save

# Options that may differ when a training is resumed; with other values of the remaining ones it would be another training.
_MAY_DIFFER = {
    "architecture", "compile", "crop_pct", "cudnn_benchmark", "cudnn_fastest", "data_dir", "data_loader", "debug", "deterministic",
    "device", "dist_backend", "epochs", "json", "local_rank", "max_image_pixels", "node_rank", "num_gpus", "num_loader_threads", "num_nodes",
    "num_replicas", "num_threads", "channels_last", "output_dir", "rendezvous", "rendezvous_timeout", "resume", "test_batch_size", "test_only",
    "val_batch_size", "val_dir", "weights",
}  # fmt: skip
# Keys of a checkpoint, and their types.
_KEPT: dict[str, tuple[type, ...]] = {
    "model": (dict,), "ema": (dict, NoneType), "ema_updates": (int,), "optimizer": (dict,), "scaler": (dict, NoneType),
    "epoch": (int,), "best": (dict,), "history": (dict,), "options": (dict,), "replicas": (int,),
}  # fmt: skip
_PLAIN = (str, int, float, NoneType, dict, list, tuple)  # types of options


def average_of(model: Model, options: TrainingOptions) -> AveragedModel | None:
    """The exponential moving average of the weights, including running statistics; None unless requested."""
    if not options.ema_decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay), use_buffers=True)


@torch.no_grad()
def update_average(average: AveragedModel, model: nn.Module) -> None:
    """Do what `average.update_parameters(model)` does, without waiting for the device, to which PyTorch copies a number that is not used."""
    pairs = zip(
        chain(average.module.parameters(), average.module.buffers()),
        chain(model.parameters(), model.buffers()),
        strict=True,
    )
    move = average.multi_avg_fn
    assert move is not None, "average_of sets it"
    if not average.n_averaged:
        for kept, new in pairs:
            kept.copy_(new)
    else:
        by_type: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for kept, new in pairs:
            averages, values = by_type.setdefault(kept.dtype, ([], []))
            averages.append(kept)
            values.append(new)
        for averages, values in by_type.values():
            move(averages, values, average.n_averaged)
    average.n_averaged += 1


@dataclass(slots=True)
class TrainingState:
    """The state of a training.

    Attributes:
        model: The model with its weights.
        average: Moving average of the weights; None if disabled.
        optimizer, scaler: Optimiser and gradient scaler with their states.
        epoch: Number of completed epochs.
        best: The best epoch so far, from 1, and its accuracy; empty if there is none.
        history: `loss`, `accuracy_top1`, `accuracy_top5`, `time` (ms), one value per epoch.
    """

    model: Model
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)

    @property
    def evaluated(self) -> nn.Module:
        """The model to evaluate: the average, if there is one."""
        return self.model if self.average is None else self.average.module

    def save(self, path: Path, options: TrainingOptions, replicas: int) -> None:
        """Write a checkpoint.

        Raises:
            UsageError: It cannot be written.
        """
        average = self.average
        content = {
            "model": self.model.state_dict(),
            "ema": None if average is None else average.module.state_dict(),
            "ema_updates": 0 if average is None else int(average.n_averaged),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
            "options": asdict(options),
            "replicas": replicas,
        }
        save(content, path)

    def restore(self, content: dict[str, Any], path: Path) -> None:
        """Resume from a checkpoint.

        Args:
            content: Of `read_checkpoint`.
            path: The file, for errors.

        Raises:
            UsageError: It does not fit the model and its optimizer.
        """
        _take(self.model, content["model"], path)
        try:
            _check_optimizer(self.optimizer, content["optimizer"])
            for before, now in zip(content["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
                if "fused" in now:  # of this device; the state of a checkpoint may be that of another
                    before["fused"] = now["fused"]
            self.optimizer.load_state_dict(content["optimizer"])
            _match_layout(self.optimizer)
            if self.scaler is not None:
                self.scaler.load_state_dict(content["scaler"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UsageError(f"{path} is damaged: the state of the optimizer does not fit: {reason}") from None
        if self.average is not None:
            _take(self.average.module, content["ema"], path)
            self.average.n_averaged.fill_(content["ema_updates"])
        self.epoch, self.best, self.history = content["epoch"], content["best"], content["history"]

    def take_weights(self, tensors: Any, path: Path) -> None:
        """Load the weights of a checkpoint into the evaluated model.

        Args:
            tensors: Of `read_weights`.
            path: The file, for errors.

        Raises:
            UsageError: They do not fit.
        """
        _take(self.evaluated, tensors, path)


def check_same_training(content: dict[str, Any], options: TrainingOptions, path: Path) -> None:
    """Check that a checkpoint belongs to the training with these options.

    Raises:
        UsageError: It belongs to another one.
    """
    before = content["options"]
    other = [
        f"{name} was {before.get(name)}, now {value}"
        for name, value in asdict(options).items()
        if name not in _MAY_DIFFER and before.get(name) != value
    ]
    if other:
        differences = ", ".join(other[:3])
        raise UsageError(f"--resume: {path} belongs to another training: {differences}; choose another --output_dir")


def read_weights(path: Path) -> Any:
    """The weights of a checkpoint that are evaluated, on the host.

    Raises:
        UsageError: The checkpoint cannot be read.
    """
    content = read_checkpoint(path)
    return content["ema"] or content["model"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the host and check the type of each part.

    Raises:
        UsageError: The file cannot be read, or is not a checkpoint.
    """
    content = read(path, torch.device("cpu"))
    if not isinstance(content, dict) or not content.keys() >= _KEPT.keys():
        raise UsageError(f"{path} is not a checkpoint of train.py")
    for name, kinds in _KEPT.items():
        if type(content[name]) not in kinds:
            raise UsageError(f"{path} is damaged: {name} has type {type(content[name]).__name__}")
    numbers = [content["best"], *content["history"].values()]
    if (
        content["epoch"] < 0
        or content["replicas"] < 1
        or not 0 <= content["ema_updates"] < 1 << 62
        or not all(type(values) is list and len(values) == content["epoch"] for values in numbers[1:])
        or not all(isinstance(value, _PLAIN) for value in content["options"].values())
        or not all(type(value) in (int, float) for value in content["best"].values())
        or not all(type(value) in (int, float) for values in numbers[1:] for value in values)
    ):
        raise UsageError(
            f"{path} is damaged: its epochs, accuracies, options or replicas are not as train.py writes them"
        )
    return content


def _take(module: nn.Module, tensors: Any, path: Path) -> None:
    if not is_tensors_by_name(tensors):
        raise UsageError(f"{path} is damaged: its weights are not tensors by name")
    misfits = load_tensors(module, tensors)
    if misfits:
        raise UsageError(f"{path} does not fit the model: {misfits}")


def _check_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Raise a ValueError for states that `load_state_dict` would accept but that fail, or change their meaning, in the first step."""
    own = optimizer.state_dict()
    for before, now in zip(state["param_groups"], own["param_groups"], strict=True):
        wrong = [name for name, value in now.items() if not isinstance(before[name], _alike(value))]
        if wrong:
            raise ValueError(f"{wrong[0]} has another type")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, kept in state["state"].items():
        for name, value in kept.items():
            if isinstance(value, Tensor):
                if value.dim() and value.shape != parameters[number].shape:
                    raise ValueError(f"{name} has shape {tuple(value.shape)}, not that of its weights")
            elif type(value) not in (int, float, NoneType):
                raise ValueError(f"{name} has type {type(value).__name__}")


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Store the optimizer's state in the memory layout of the weights, which may differ if `--channels_last` does.

    Fused optimizers take elements in the order of memory: those of another layout would be added to the wrong weights.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.dim() and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _alike(value: Any) -> tuple[type, ...]:
    return (int, float) if type(value) in (int, float) else (type(value),)
