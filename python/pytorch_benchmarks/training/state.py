"""What changes while a network is trained, and how it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.training import TrainingOptions
from pytorch_benchmarks.tensor_files import read, save

__all__ = ["State", "average_of"]

# What may differ when training goes on; with other values of all other options it would be another training.
_MAY_DIFFER = {
    "architecture", "compile", "crop_pct", "cudnn_benchmark", "cudnn_fastest", "data_dir", "data_loader", "debug", "deterministic",
    "device", "epochs", "json", "num_gpus", "num_loader_threads", "num_replicas", "num_threads", "channels_last", "output_dir",
    "resume", "test_batch_size", "test_only", "val_batch_size", "val_dir", "weights",
}  # fmt: skip
_KEPT = {"model", "ema", "ema_updates", "optimizer", "scaler", "epoch", "best", "history", "options", "replicas"}


def average_of(model: Model, options: TrainingOptions) -> AveragedModel | None:
    """The exponential moving average of the weights, running statistics included, if it is asked for."""
    if not options.ema_decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay), use_buffers=True)


@dataclass(slots=True)
class State:
    """A training under way.

    Attributes:
        model: Has the weights.
        average: Their moving average; None without it.
        optimizer, scaler: Have a memory, too.
        epoch: Epochs that are finished.
        best: The best epoch so far, from 1, and its accuracy; empty if there is none.
        history: `loss`, `accuracy_top1`, `accuracy_top5`, `time` (ms), a value for each epoch.
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
        """The network whose accuracy counts: the average, if there is one."""
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

    def restore(self, path: Path, options: TrainingOptions, device: torch.device) -> int:
        """Go on from a checkpoint.

        Returns:
            How many replicas there were until then.

        Raises:
            UsageError: It cannot be read, or is of another training.
        """
        content = read(path, device)
        if not isinstance(content, dict) or not content.keys() >= _KEPT:
            raise UsageError(f"--resume: {path} is no checkpoint of train.py")
        before = content["options"]
        other = [
            f"{name} was {before.get(name)}, now {value}"
            for name, value in asdict(options).items()
            if name not in _MAY_DIFFER and before.get(name) != value
        ]
        if other:
            differences = ", ".join(other[:3])
            raise UsageError(f"--resume: {path} is of another training: {differences}; choose another --output_dir")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(content["ema"])
            self.average.n_averaged.fill_(content["ema_updates"])
        self.epoch, self.best, self.history = content["epoch"], content["best"], content["history"]
        return int(content["replicas"])
