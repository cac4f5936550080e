"""Wrap the loader, the criterion and the optimiser of a training loop, so that its rates and losses are reported."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from voir.helpers import current_overseer

from benchmate.metrics import LazyLossPusher, TimedIterator, give_push, sumggle_push

__all__ = ["BenchObserver"]


class BenchObserver:
    """Reports what a loop does.

    Args:
        arguments, options: Those of TimedIterator.
        backward_callback: Called after the gradients of a loss are there.
        step_callback: Called after a step of the optimiser.
        stdout: Hide events in standard output, for scripts that voir does not run.
        rank: Of this process; the first one reports.
    """

    def __init__(
        self,
        *arguments: Any,
        backward_callback: Callable[[], None] | None = None,
        step_callback: Callable[[], None] | None = None,
        stdout: bool = False,
        rank: int | None = None,
        **options: Any,
    ) -> None:
        self.arguments, self.options = arguments, options
        self.backward_callback, self.optimizer_step_callback = backward_callback, step_callback
        self.rank = int(os.getenv("RANK", "0")) if rank is None else rank
        self.task = "train"
        self.stdout = stdout
        self.losses = LazyLossPusher(self.task)
        # Under voir its pipe takes events; without it, standard output has to.
        self.pusher = sumggle_push() if stdout else give_push()
        self.instance: TimedIterator | None = None

    def on_iterator_stop_iterator(self) -> None:
        """Report the losses that were kept."""
        self.losses.push(self.pusher)

    def record_loss(self, loss: Any) -> Any:
        """Keep a loss, and give it back."""
        if not self.rank:
            self.losses.record(loss)
        return loss

    def override_return_value(self, function: Any, override: Callable[[Any], Any]) -> None:
        """Let something else come out of a function of the script.

        Raises:
            RuntimeError: voir does not run this script.
        """
        import ptera

        overseer = current_overseer.get()
        if overseer is None:
            raise RuntimeError("only voir can override what functions return: run the script under it")
        probe = overseer.probe(f"{ptera.refstring(function)}() as retval", overridable=True)
        probe["retval"].override(override)

    def iterate(self, iterator: Any) -> Any:
        """As `loader`."""
        return self.loader(iterator)

    def loader(self, loader: Any) -> Any:
        """The same batches, timed. A second call gives the first one again."""
        if self.instance is None:
            self.instance = TimedIterator(loader, *self.arguments, rank=self.rank, push=self.pusher, **self.options)
            self.instance.task = self.task
            self.instance.on_iterator_stop_iterator = self.on_iterator_stop_iterator  # type: ignore[method-assign]
        return self.instance

    def criterion(self, criterion: Callable[..., Any]) -> Callable[..., Any]:
        """The same criterion, whose losses are reported."""

        def observed(*arguments: Any, **options: Any) -> Any:
            loss = criterion(*arguments, **options)
            if self.backward_callback is not None:
                original = loss.backward

                def backward(*more: Any, **others: Any) -> None:
                    original(*more, **others)
                    self.backward_callback()

                loss.backward = backward
            return self.record_loss(loss)

        return observed

    def optimizer(self, optimizer: Any) -> Any:
        """The same optimiser, after whose steps the callback is called."""
        if self.optimizer_step_callback is not None:
            callback = self.optimizer_step_callback
            optimizer.register_step_post_hook(lambda *_: callback())
        return optimizer
