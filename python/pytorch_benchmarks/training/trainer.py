"""Training epoch by epoch: optimiser, learning rate, evaluation, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark_core.doubts import warning
from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.load import CompetingLoad
from benchmark_core.log import Log
from benchmark_core.measure import log_load
from benchmark_core.timing import Moments, rate_words
from pytorch_benchmarks.devices import synchronizer
from pytorch_benchmarks.distributed import from_first, mean, parallel, share_buffers
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.phases import can_fuse, training_step
from pytorch_benchmarks.training.accuracy import evaluate
from pytorch_benchmarks.training.augmenting import Augmenting, Mixing
from pytorch_benchmarks.training.options import TrainingOptions
from pytorch_benchmarks.training.setup import Setup
from pytorch_benchmarks.training.state import (
    TrainingState,
    average_of,
    check_same_training,
    read_checkpoint,
    read_weights,
    update_average,
)

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


class Trainer:
    """Trains a model with a given setup.

    Args:
        setup: Constant parts of the training.
        model: The model, on the device.
        log: Receives results after every epoch.

    Attributes:
        state: Variable parts of the training.
        directory: Directory of the checkpoints, `last.pt` and `best.pt`.

    Raises:
        UsageError: The output directory contains another training, or its checkpoint cannot be read.
    """

    def __init__(self, setup: Setup, model: Model, log: Log) -> None:
        options = setup.options
        self.setup, self.log = setup, log
        self.directory = Path(options.output_dir)
        self.state = TrainingState(
            model, average_of(model, options), build_optimizer(model, options), setup.precision.scaler()
        )
        self._resume()
        self.network = parallel(model, setup.world, setup.device)
        if options.compile:
            self.network.compile(mode=None if options.compile == "default" else options.compile)
        self._step = training_step(
            model,
            self.network,
            setup.precision,
            optimizer=self.state.optimizer,
            scaler=self.state.scaler,
            clip_grad_norm=options.clip_grad_norm,
        )
        self._synchronize = synchronizer(setup.device)
        self._competing = CompetingLoad()
        self._moments = Moments()

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.directory / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the highest accuracy."""
        return self.directory / "best.pt"

    def _resume(self) -> None:
        setup, options = self.setup, self.setup.options
        path = self.last if options.resume == "auto" else Path(options.resume)
        # Rank 0 alone has the checkpoints if the nodes share no directory, and its options are those in them.
        found = from_first(lambda: self._checkpoint(path), setup.world)
        if found is None:
            return
        content, has_best = found
        self.state.restore(content, path)
        self.log("results.resumed_epoch", self.state.epoch)
        if content["replicas"] != setup.world.size:
            figures = f"{content['replicas']} replicas before, {setup.world.size} now"
            self.log.warn(warning("effective batch changed", figures))
        if not has_best:  # it is in the directory of the checkpoint
            self.state.best = {}

    def _checkpoint(self, path: Path) -> tuple[dict[str, Any], bool] | None:
        """The checkpoint to resume from, and whether the best one is in the output directory; None to start from scratch."""
        options = self.setup.options
        wanted = bool(options.resume) and (options.resume != "auto" or path.exists())
        if self.last.exists() and not (wanted and path.parent.resolve() == self.directory.resolve()):
            raise UsageError(
                f"--output_dir {self.directory} already contains a training: continue it with --resume auto, or use another"
            )
        if not wanted:
            return None
        content = read_checkpoint(path)
        check_same_training(content, options, path)
        return content, self.best.exists()

    def run(self) -> None:
        """Train until all epochs are done.

        Raises:
            BenchmarkError: The loss is not finite; the checkpoints are those of earlier epochs.
        """
        setup, state, options = self.setup, self.state, self.setup.options
        order = setup.training_order(state.epoch)
        count = order.batches_per_epoch
        batches = setup.training_batches(order) if state.epoch < options.epochs else iter(())
        trained = 0
        while state.epoch < options.epochs:
            self._competing.start()
            begin = perf_counter()
            loss = self._epoch(batches, count)
            seconds = perf_counter() - begin
            self._competing.stop()
            trained += count
            share_buffers(state.evaluated, setup.world)
            accuracy = evaluate(
                state.evaluated,
                setup.validation_batches(options.val_batch_size or options.batch_size),
                expected=len(setup.pictures.val),
                precision=setup.precision,
                world=setup.world,
                device=setup.device,
            )
            state.epoch += 1
            found = {"loss": loss, **accuracy.percent(), "time": 1000 * seconds}
            for name, value in found.items():
                state.history.setdefault(name, []).append(value)
            self._keep(found)
            self._report(found, count)
        if state.history:
            self._log_results(count)
        if trained:  # epochs before an interruption logged their own warnings
            log_load(self.log, self._competing, trained)

    def _epoch(self, batches: Iterator[tuple[Tensor, Tensor]], count: int) -> float:
        """Train for one epoch; return the mean loss of its batches over all processes."""
        setup, state, options = self.setup, self.state, self.setup.options
        # Random numbers of an epoch depend only on its number, so that an interrupted training continues as if it had not been.
        number = (abs(options.seed), state.epoch, setup.world.rank)
        torch.manual_seed(int(np.random.SeedSequence(number).generate_state(1, np.uint64)[0]))
        mixing = Mixing(
            state.model.num_classes,
            label_smoothing=options.label_smoothing,
            mixup_alpha=options.mixup_alpha,
            cutmix_alpha=options.cutmix_alpha,
            seed=number,
            shape=setup.transforms.shape,
        )
        augmenting = Augmenting(
            setup.transforms,
            policy=options.auto_augment,
            magnitude=options.ra_magnitude,
            erasing=options.random_erase,
            seed=number,
        )
        self.network.train()
        losses = torch.zeros((), dtype=torch.float32, device=setup.device)
        begin = perf_counter()
        for batch_number, batch in enumerate(islice(batches, count)):
            rate = learning_rate(options, state.epoch + batch_number / count)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            losses += self._step(mixing(augmenting(batch))).float()
            if state.average is not None and batch_number % options.ema_steps == 0:
                update_average(state.average, state.model)
            if self._moments.is_due():
                self._tell_batch(batch_number + 1, count, perf_counter() - begin)
        self._synchronize()
        loss = mean(float(losses) / count, setup.world, setup.device)
        if not math.isfinite(loss):
            raise BenchmarkError(
                f"the loss is {loss} in epoch {state.epoch + 1}: a lower --lr, a longer --lr_warmup_epochs or --clip_grad_norm may help"
            )
        return loss

    def _keep(self, found: dict[str, float]) -> None:
        """Write the checkpoints in rank 0; the other processes continue during that time."""
        state = self.state
        better = found["accuracy_top1"] > state.best.get("accuracy_top1", -1.0)
        if better:
            state.best = {"epoch": state.epoch, "accuracy_top1": found["accuracy_top1"]}
        if self.log.reports:
            if better:  # before `last`, which contains the number of the best epoch
                state.save(self.best, self.setup.options, self.setup.world.size)
            state.save(self.last, self.setup.options, self.setup.world.size)

    def _report(self, found: dict[str, float], count: int) -> None:
        if self.log.reports:
            print(
                f"epoch {self.state.epoch}/{self.setup.options.epochs}: loss {found['loss']:.4f}, "
                f"accuracy {found['accuracy_top1']:.2f} % (top 5: {found['accuracy_top5']:.2f} %), "
                f"{1000 * count * self._effective_batch / found['time']:.1f} {self.state.model.unit}/s",
                flush=True,
            )

    def _tell_batch(self, done: int, count: int, seconds: float) -> None:
        """Say how far an epoch is. The device is not waited for, which may be some batches behind."""
        if self.log.reports:
            rate = rate_words(done * self._effective_batch, seconds, self.state.model.unit)
            epoch = f"epoch {self.state.epoch + 1} of {self.setup.options.epochs}"
            print(f"{rate} so far, batch {done:,} of {count:,}, {epoch}", flush=True)

    @property
    def _effective_batch(self) -> int:
        return self.setup.options.batch_size * self.setup.world.size

    def _log_results(self, count: int) -> None:
        """Log results of all epochs, including those before an interruption."""
        state, log = self.state, self.log
        batch_time = fmean(state.history["time"]) / count
        for name, values in state.history.items():
            log(f"results.epoch_{name}", values)
        log("results.epochs", state.epoch)
        log("results.best_epoch", state.best.get("epoch"))
        log("results.loss", state.history["loss"][-1])
        log("results.time", batch_time)
        log("results.throughput", 1000 * self._effective_batch / batch_time)

    def load_best(self) -> None:
        """Load the weights of the best epoch.

        Raises:
            UsageError: The checkpoint cannot be read.
        """
        if self.state.best:
            weights = from_first(lambda: read_weights(self.best), self.setup.world)
            self.state.take_weights(weights, self.best)


def build_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """The requested optimiser, in its fused form if available."""
    groups = parameter_groups(model, options)
    fused = can_fuse(list(model.parameters()))
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.lr, fused=fused)
    if options.optimizer == "rmsprop":
        # Usual for mobile networks: squared gradients are averaged over ten batches, with a large epsilon.
        return torch.optim.RMSprop(groups, lr=options.lr, alpha=0.9, eps=0.0316, momentum=options.momentum)
    return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, fused=fused)


def parameter_groups(model: nn.Module, options: TrainingOptions) -> list[dict[str, Any]]:
    """Parameters grouped by their weight decay."""
    decays: dict[float, list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen:  # shared by two layers
                continue
            seen.add(parameter)
            decay: float | None = None
            if isinstance(module, _NORMS):
                decay = options.norm_weight_decay
            elif name.endswith("bias"):
                decay = options.bias_weight_decay
            decays.setdefault(options.weight_decay if decay is None else decay, []).append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in decays.items()]


def learning_rate(options: TrainingOptions, progress: float) -> float:
    """The learning rate after `progress` epochs; a function of that alone, so that resuming needs no stored state.

    It rises linearly for `lr_warmup_epochs`; then it decreases in steps, as half a cosine (Loshchilov and Hutter,
    arXiv:1608.03983), exponentially, or not at all.

    Args:
        options: Schedule and rates.
        progress: Completed epochs, with a fraction.
    """
    warmup = options.lr_warmup_epochs
    if progress < warmup:
        share = options.lr_warmup_decay
        return options.lr * (share + (1 - share) * progress / warmup)
    after = progress - warmup
    if options.lr_scheduler == "step":
        # Slightly more, because batch 500 of 500 may be computed as 29.999999999.
        steps = math.floor(after / options.lr_step_size + 1e-9) if options.lr_step_size else 0
        return options.lr * options.lr_gamma**steps
    if options.lr_scheduler == "exponential":
        return options.lr * options.lr_gamma ** math.floor(after + 1e-9)
    if options.lr_scheduler == "cosine":
        done = min(1.0, after / max(1e-9, options.epochs - warmup))
        return options.lr_min + (options.lr - options.lr_min) * (1 + math.cos(math.pi * done)) / 2
    return options.lr
